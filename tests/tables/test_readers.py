"""Reading parts back: ranged, bounded, whole outputs, counts."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.data import ColumnSpec, shard_id
from curator.errors import ConfigError, NotFoundError, ReplacedError, RetryableError
from curator.storage import LocalStorage, MemoryStorage, ReadStream
from curator.storage.backoff import Backoff
from curator.tables import ranged
from curator.tables.ranged import RangedFile
from curator.tables.readers import PartError, count_values, footer, open_part, part_url, parts, scan, vectors
from curator.tables.schema import FIXED_COLUMNS, build_schema
from tests.tables.rows import DIM, SCHEMA, expected, make_rows, write_part


class Watched(MemoryStorage):
    """Notes every ranged read as (offset, length); refuses to read objects whole. ``cut`` bodies lose their end."""

    def __init__(self, *, cut: int = 0, failures: int = 0) -> None:
        self.ranges: list[tuple[int, int | None]] = []
        self.cut = cut
        self.failures = failures

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        assert etag is not None, "a read that is not pinned to the object it began with"
        if self.failures:
            self.failures -= 1
            raise RetryableError(f"{url}: 503")
        self.ranges.append((offset, length))
        stream = super().open(url, offset=offset, length=length, etag=etag)
        if self.cut and length != 1:
            self.cut -= 1
            left = stream.read()
            return io.BytesIO(left[: len(left) // 2])
        return stream

    def read(self, url: str) -> bytes:
        raise AssertionError("a part is never read whole")


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged, "_BACKOFF", Backoff(attempts=4, sleep=lambda seconds: None))


def _rows_of(batches: Any) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def test_part_gives_rows_footer_and_schema(storage: MemoryStorage, output: str) -> None:
    rows = make_rows(0, 11, rejects=(0, 10))
    write_part(storage, output, rows)
    with open_part(output, storage) as part:
        assert (part.rows, part.footer, part.schema_version) == (11, {"encoder": "tiny"}, 1)
        assert part.schema.equals(SCHEMA, check_metadata=True)
        assert _rows_of(part.batches(batch_rows=3)) == expected(rows)
    assert footer(output, storage) == {"encoder": "tiny"}


def test_footer_is_read_without_the_rows(output: str) -> None:
    storage = Watched()
    entry = write_part(storage, output, make_rows(0, 4000), row_group_rows=1000)
    with open_part(output, storage) as part:
        assert part.rows == 4000
    assert sum(length or entry.size - offset for offset, length in storage.ranges) < 0.5 * entry.size


def test_only_the_asked_columns_are_read(output: str) -> None:
    storage = Watched()
    entry = write_part(storage, output, make_rows(0, 4000), row_group_rows=1000)
    with open_part(output, storage) as part:
        storage.ranges.clear()
        found = [batch.column("status") for batch in part.batches(["status"])]
    assert sum(map(len, found)) == 4000
    assert 0 < sum(length or entry.size - offset for offset, length in storage.ranges) < 0.05 * entry.size


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("fault", [{"cut": 7}, {"failures": 3}])
def test_passing_faults_are_survived(output: str, fault: dict[str, int]) -> None:
    storage = Watched(**fault)
    rows = make_rows(0, 11)
    write_part(storage, output, rows)
    with open_part(output, storage) as part:
        assert _rows_of(part.batches()) == expected(rows)


@pytest.mark.usefixtures("_no_waiting")
def test_lasting_fault_keeps_its_verdict(output: str) -> None:
    storage = Watched()
    write_part(storage, output, make_rows(0, 3))
    storage.failures = 100
    with pytest.raises(RetryableError, match="503"):
        open_part(output, storage)
    assert 90 < storage.failures < 100


def test_part_replaced_while_read_is_refused(storage: MemoryStorage, output: str) -> None:
    write_part(storage, output, make_rows(0, 9))
    with open_part(output, storage) as part:
        write_part(storage, output, make_rows(0, 9))
        with pytest.raises(ReplacedError):
            list(part.batches())


@pytest.mark.parametrize("whence", [io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
def test_ranged_file_is_a_file(storage: MemoryStorage, output: str, whence: int) -> None:
    data = bytes(range(100))
    mine, reference = RangedFile(storage, storage.write(output, data)), io.BytesIO(data)
    for offset, size in [(10, 5), (-7, 3), (0, -1), (200, 4), (3, 0), (90, 50)]:
        if whence == io.SEEK_SET and offset < 0:
            continue
        assert mine.seek(offset, whence) == reference.seek(offset, whence)
        assert mine.read(size) == reference.read(size)
        assert mine.tell() == reference.tell()
    assert mine.size() == 100


@pytest.mark.parametrize("change", ["cut", "flip", "foreign", "empty"])
def test_what_is_no_part_says_so(storage: MemoryStorage, output: str, change: str) -> None:
    write_part(storage, output, make_rows(0, 9))
    data = bytearray(storage.read(output))
    foreign = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), foreign)
    data[200] ^= 0xFF
    storage.write(output, {"cut": data[:-9], "flip": data, "foreign": foreign.getvalue(), "empty": b""}[change])
    with pytest.raises(PartError, match=output), open_part(output, storage) as part:
        list(part.batches())


def test_newer_schema_is_refused(storage: MemoryStorage, output: str) -> None:
    newer = SCHEMA.with_metadata({"curator.schema_version": "2"})
    write_part(storage, output, make_rows(0, 2), schema=newer)
    with pytest.raises(ConfigError, match="schema version 2"):
        open_part(output, storage)


def test_missing_part_and_column_name_themselves(storage: MemoryStorage, output: str) -> None:
    with pytest.raises(NotFoundError):
        open_part(output, storage)
    write_part(storage, output, make_rows(0, 2))
    with open_part(output, storage) as part, pytest.raises(ConfigError, match="no column 'statue'; it has sample_id"):
        next(part.batches(["statue"]))


@pytest.fixture(params=["memory", "local"])
def anywhere(request: pytest.FixtureRequest, output: str, tmp_path: Path) -> tuple[Any, str]:
    return (MemoryStorage(), output) if request.param == "memory" else (LocalStorage(), str(tmp_path / "out"))


def test_scan_reads_all_parts_and_nothing_else(anywhere: tuple[Any, str]) -> None:
    storage, output = anywhere
    portions = [make_rows(0, 5, rejects=(1,)), make_rows(0, 0), make_rows(0, 9, rejects=(0, 8))]
    urls = [part_url(output, name) for name in "abc"]
    for url, rows in zip(urls, portions, strict=True):
        write_part(storage, url, rows)
    for stray in (
        "_ledger/run.json",
        "_ledger/part-a.parquet",
        "part-d.parquet.tmp",
        "other.parquet",
        "part-e/x.parquet",
    ):
        storage.write(f"{output}/{stray}", b"not a part")
    assert [entry.url for entry in parts(output, storage)] == urls
    everything = [row for rows in portions for row in expected(rows)]
    assert _rows_of(scan(output, storage)) == everything
    assert _rows_of(scan(f"{output}/", storage, ["key", "embedding"], only_ok=True, batch_rows=2)) == [
        {"key": row["key"], "embedding": row["embedding"]} for row in everything if row["status"] == "ok"
    ]
    assert _rows_of(scan(output, storage, ["status"], only_ok=True)) == [
        {"status": "ok"} for row in everything if row["status"] == "ok"
    ]


def test_scan_refuses_an_output_of_two_runs(storage: MemoryStorage, output: str) -> None:
    write_part(storage, part_url(output, "a"), make_rows(0, 2))
    other = build_schema(DIM, "float32", [ColumnSpec(f.name, "flag", "d") for f in []])
    write_part(storage, part_url(output, "b"), make_rows(0, 0), schema=other)
    with pytest.raises(ConfigError, match="different columns"):
        list(scan(output, storage))


def test_scan_of_nothing_is_an_error(storage: MemoryStorage, output: str) -> None:
    with pytest.raises(ConfigError, match="holds no part"):
        list(scan(output, storage))


def test_scan_holds_one_row_group_at_a_time(storage: MemoryStorage, output: str) -> None:
    dim, group = 256, 256
    for name in "ab":
        rows = make_rows(0, 16 * group, dim=dim)
        write_part(
            storage,
            part_url(output, name),
            rows,
            schema=build_schema(dim, "float32", [ColumnSpec(f.name, _kind(f.name), "d") for f in _heads()]),
            row_group_rows=group,
        )
    start, peak = pa.total_allocated_bytes(), 0
    for _ in scan(output, storage, ["embedding"]):
        peak = max(peak, pa.total_allocated_bytes() - start)
    assert 0 < peak < 6 * group * dim * 4


def _heads() -> list[pa.Field]:
    return [field for field in SCHEMA if field.name not in FIXED_COLUMNS]


def _kind(name: str) -> Any:
    return SCHEMA.field(name).metadata[b"kind"].decode()


def test_counts_are_those_of_a_loop(storage: MemoryStorage, output: str) -> None:
    portions = [make_rows(0, 40, rejects=(0, 7, 39)), make_rows(0, 0), make_rows(0, 30, rejects=range(20))]
    for i, rows in enumerate(portions):
        write_part(storage, part_url(output, shard_id(str(i))), rows, row_group_rows=7)
    everything = [row for rows in portions for row in expected(rows)]
    counts = count_values(output, storage)
    assert (counts.rows, counts.rejected) == (70, 23)
    assert counts.reasons == Counter(row["reason"] for row in everything if row["reason"])
    assert counts.top1 == {"things": Counter(row["things"][0]["label"] for row in everything if row["things"])}
    assert counts.abstained == {"things": sum(bool(row["things_abstained"]) for row in everything)}


def test_counts_of_no_parts_are_zero(storage: MemoryStorage, output: str) -> None:
    counts = count_values(output, storage)
    assert (counts.rows, counts.rejected, counts.top1) == (0, 0, {})


def test_vectors_come_back_as_numpy_without_a_loop(storage: MemoryStorage, output: str) -> None:
    rows = make_rows(0, 9, rejects=(4,))
    write_part(storage, part_url(output, "a"), rows)
    whole = np.concatenate([vectors(batch) for batch in scan(output, storage, ["embedding"])])
    assert np.isnan(whole[4]).all()
    assert np.array_equal(whole[rows.ok], rows.vectors[rows.ok].astype(np.float16))
    only_ok = [vectors(batch) for batch in scan(output, storage, ["embedding"], only_ok=True)]
    assert np.array_equal(np.concatenate(only_ok), whole[rows.ok])
    sliced = next(scan(output, storage, ["embedding"])).slice(1, 2)
    assert np.array_equal(vectors(sliced), whole[1:3])
