"""What a part holds, how it is published, and what is left when it is not."""

from __future__ import annotations

import gc
import io
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.data import Labels, Reject, Rows
from curator.errors import NotFoundError, RetryableError
from curator.storage import Entry, LocalStorage, MemoryStorage, Upload
from curator.tables import columns
from curator.tables.columns import slice_rows
from curator.tables.schema import build_schema
from curator.tables.sink import AccountingError, PartWriter
from tests.tables.rows import COLUMNS, DIM, SCHEMA, expected, join_rows, make_row, make_rows, write_part


def _table(storage: MemoryStorage, url: str) -> pa.Table:
    return pq.read_table(io.BytesIO(storage.read(url)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("count", [0, 1, 4, 13])
def test_round_trip(storage: MemoryStorage, output: str, count: int, dtype: type[np.floating[Any]]) -> None:
    schema = build_schema(DIM, np.dtype(dtype).name, COLUMNS)
    rows = make_rows(0, count, rejects=(0, 5, 12))
    entry = write_part(storage, output, rows, schema=schema)
    table = _table(storage, output)
    assert table.to_pylist() == expected(rows, dtype)
    assert pa.schema(list(table.schema)).equals(pa.schema(list(schema)), check_metadata=True)
    assert entry.size == len(storage.read(output))


def test_all_rejected_needs_no_annotations(storage: MemoryStorage, output: str) -> None:
    rows = make_rows(0, 6, rejects=range(6))
    write_part(storage, output, replace(rows, annotations={}))
    table = _table(storage, output)
    assert table.to_pylist() == expected(rows)
    assert table.schema.equals(SCHEMA)


def test_rejected_rows_keep_nothing_of_what_stood_in_them(storage: MemoryStorage, output: str) -> None:
    """The engine leaves padding in rejected rows: infinite vectors, labels, flags and scores."""
    rows = make_rows(0, 3)
    rows.vectors[1] = np.inf
    records = [replace(r, reject=Reject("empty_image", "0 bytes") if r.index == 1 else None) for r in rows.records]
    rows = replace(rows, records=records, ok=np.array([True, False, True]))
    write_part(storage, output, rows)
    found = _table(storage, output).to_pylist()
    assert found == expected(rows)
    assert [found[1][column.name] for column in COLUMNS] == [None] * len(COLUMNS)


def test_row_groups_have_the_asked_size(storage: MemoryStorage, output: str) -> None:
    write_part(storage, output, make_rows(0, 3), make_rows(3, 11), make_rows(11, 13), row_group_rows=5)
    metadata = pq.read_metadata(io.BytesIO(storage.read(output)))
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [5, 5, 3]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 29)),
    limit=st.integers(1, 90),
)
def test_texts_close_row_groups_before_they_fill_the_memory(sizes: list[int], cuts: set[int], limit: int) -> None:
    storage = MemoryStorage()
    rows = make_rows(0, len(sizes))
    records = [
        replace(record, caption="x" * (size // 2), metadata=b"y" * (size - size // 2))
        for record, size in zip(rows.records, sizes, strict=True)
    ]
    rows = replace(rows, records=records)
    borders = [0, *sorted(cut for cut in cuts if cut < len(sizes)), len(sizes)]
    portions = [slice_rows(rows, start, stop) for start, stop in pairwise(borders)]
    write_part(storage, "memory://texts/part", *portions, row_group_rows=7, row_group_bytes=limit)
    wanted, count, held = [], 0, 0
    for size in sizes:
        count, held = count + 1, held + size
        if count == 7 or held >= limit:
            wanted.append(count)
            count, held = 0, 0
    metadata = pq.read_metadata(io.BytesIO(storage.read("memory://texts/part")))
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == wanted + [count] * (count > 0)
    assert _table(storage, "memory://texts/part").to_pylist() == expected(rows)


def test_bytes_depend_on_the_rows_alone(storage: MemoryStorage, output: str) -> None:
    write_part(storage, f"{output}/a", make_rows(0, 23, rejects=(3, 9)))
    write_part(storage, f"{output}/b", *(make_rows(i, i + 1, rejects=(3, 9)) for i in range(23)))
    assert storage.read(f"{output}/a") == storage.read(f"{output}/b")


def test_text_that_is_not_utf8_is_made_visible(storage: MemoryStorage, output: str) -> None:
    row = make_row(0, reject=False)
    row["key"] = b"caf\xe9".decode("utf-8", "surrogateescape")
    row["caption"] = "half a pair: \ud83d"
    rows = join_rows([row])
    write_part(storage, output, rows)
    found = _table(storage, output).to_pylist()
    assert (found[0]["key"], found[0]["caption"]) == ("caf\\xe9", "half a pair: \\ud83d")
    assert found == expected(rows)


def test_large_vocabulary_is_converted_once(
    storage: MemoryStorage, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"label {i}" for i in range(100_000))
    ids = tuple(f"n{i}" for i in range(100_000))
    sizes: list[int] = []
    texts = columns._texts
    monkeypatch.setattr(columns, "_texts", lambda values: sizes.append(len(values)) or texts(values))
    portions = [make_rows(i, i + 5, ids=ids, names=names) for i in range(0, 20, 5)]
    for rows in portions:
        things = rows.annotations["things"]
        assert isinstance(things, Labels)
        things.indices[:] = 99_999 - things.indices
    write_part(storage, output, *portions, row_group_rows=5)
    assert _table(storage, output).to_pylist() == [row for rows in portions for row in expected(rows)]
    assert sizes.count(100_000) == 2


def test_footer_carries_the_provenance(storage: MemoryStorage, output: str) -> None:
    write_part(storage, output, make_rows(0, 3))
    stored = pq.read_metadata(io.BytesIO(storage.read(output))).metadata
    assert (stored[b"curator.encoder"], stored[b"curator.schema_version"]) == (b"tiny", b"1")


def test_statistics_and_encodings_suit_the_columns(storage: MemoryStorage, output: str) -> None:
    write_part(storage, f"{output}/f2", make_rows(0, 3))
    write_part(storage, f"{output}/f4", make_rows(0, 3), schema=build_schema(DIM, "float32", COLUMNS))
    groups = [pq.read_metadata(io.BytesIO(storage.read(f"{output}/{name}"))).row_group(0) for name in ("f2", "f4")]
    half, single = ({c.path_in_schema: c for c in map(g.column, range(g.num_columns))} for g in groups)
    vector = "embedding.list.element"
    assert half[vector].statistics is None
    assert set(half[vector].encodings) == {"PLAIN", "RLE"}  # DuckDB reads no byte-stream-split halves
    assert "BYTE_STREAM_SPLIT" in single[vector].encodings
    assert "RLE_DICTIONARY" in half["things.list.element.label"].encodings
    assert (half["index"].statistics.min, half["index"].statistics.max) == (0, 2)
    assert {column.compression for column in half.values()} == {"ZSTD"}


@pytest.mark.parametrize(
    ("portions", "message"),
    [
        ([(1, 3)], r"row 1 \('sample/00001'\) came where row 0 was due"),
        ([(0, 3), (4, 5)], "row 4 .* came where row 3 was due"),
        ([(0, 3), (2, 5)], "row 2 .* came where row 3 was due"),
    ],
)
def test_gaps_and_repeats_are_refused(
    storage: MemoryStorage, output: str, portions: list[tuple[int, int]], message: str
) -> None:
    with pytest.raises(AccountingError, match=message):
        write_part(storage, output, *(make_rows(*portion) for portion in portions))
    with pytest.raises(NotFoundError):
        storage.stat(output)


def test_rows_of_another_shard_are_refused(storage: MemoryStorage, output: str) -> None:
    with pytest.raises(AccountingError, match="rows of shard other"):
        write_part(storage, output, make_rows(0, 2), replace(make_rows(2, 4), shard_url="other"))


def _broken(rows: Rows, name: str) -> Rows:
    things = rows.annotations["things"]
    assert isinstance(things, Labels)
    without = {key: value for key, value in rows.annotations.items() if key != "tags"}
    return {
        "ok": replace(rows, ok=~rows.ok),
        "dim": replace(rows, vectors=rows.vectors[:, :-1]),
        "vectors": replace(rows, vectors=rows.vectors[:-1]),
        "missing": replace(rows, annotations=without),
        "extra": replace(rows, annotations={**rows.annotations, "more": rows.ok}),
        "short": replace(rows, annotations={**rows.annotations, "clip_score": np.ones(2, np.float32)}),
        "counts": replace(rows, annotations={**rows.annotations, "things": replace(things, counts=things.counts + 9)}),
        "indices": replace(rows, annotations={**rows.annotations, "things": replace(things, names=NAMES_TOO_FEW)}),
        "sha256": replace(rows, records=[replace(record, sha256=b"short") for record in rows.records]),
    }[name]


NAMES_TOO_FEW = ("only",)


@pytest.mark.parametrize("name", ["ok", "dim", "vectors", "missing", "extra", "short", "counts", "indices", "sha256"])
def test_rows_that_do_not_fit_name_shard_and_rows(storage: MemoryStorage, output: str, name: str) -> None:
    rows = make_rows(0, 4)
    with pytest.raises(AccountingError, match=r"00007\.tar: rows 0 to 3 do not fit"):
        write_part(storage, output, _broken(rows, name))
    with pytest.raises(NotFoundError):
        storage.stat(output)


class FailingUpload:
    """Passes operations on until number ``fail_at``, which fails."""

    def __init__(self, upload: Upload, fail_at: int) -> None:
        self._upload = upload
        self._left = fail_at
        self.finished = False
        self.late_writes = 0

    def write(self, data: bytes, /) -> int:
        self.late_writes += self.finished
        self._step()
        return self._upload.write(data)

    def commit(self) -> Entry:
        self._step()
        self.finished = True
        return self._upload.commit()

    def abort(self) -> None:
        self.finished = True
        self._upload.abort()

    def _step(self) -> None:
        if self._left == 0:
            raise RetryableError("the network is down")
        self._left -= 1


class FailingStorage(MemoryStorage):
    def __init__(self, fail_at: int) -> None:
        self.fail_at = fail_at

    def upload(self, url: str) -> Upload:
        self.last = FailingUpload(super().upload(url), self.fail_at)
        return self.last


def test_failure_at_any_operation_leaves_the_old_part(
    storage: MemoryStorage, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curator.tables.sink._WRITE_BYTES", 1)  # each of Arrow's own writes is one
    storage.write(output, b"the attempt before")
    failed: list[FailingUpload] = []
    while True:
        failing = FailingStorage(fail_at=len(failed))
        try:
            write_part(failing, output, make_rows(0, 5))
            break
        except RetryableError:
            failed.append(failing.last)
        assert storage.read(output) == b"the attempt before"
    gc.collect()
    assert all(upload.finished for upload in failed)
    assert sum(upload.late_writes for upload in failed) == 0
    assert len(failed) > 10
    assert _table(storage, output).num_rows == 5


def test_small_writes_are_gathered(storage: MemoryStorage, output: str) -> None:
    counting = FailingStorage(fail_at=1000)
    write_part(counting, output, make_rows(0, 5))
    assert 1000 - counting.last._left == 2  # one write and the commit


@pytest.mark.parametrize("rows", [0, 9])
def test_abort_leaves_no_file(tmp_path: Path, rows: int) -> None:
    writer = PartWriter(LocalStorage(), str(tmp_path / "part-x.parquet"), SCHEMA, footer={}, row_group_rows=4)
    writer.write(make_rows(0, rows))
    assert writer.rows == rows
    writer.abort()
    writer.abort()
    del writer
    gc.collect()
    assert [name for _, _, names in os.walk(tmp_path) for name in names] == []


def test_leaving_the_block_without_commit_aborts(storage: MemoryStorage, output: str) -> None:
    with PartWriter(storage, output, SCHEMA, footer={}) as writer:
        writer.write(make_rows(0, 2))
    with pytest.raises(NotFoundError):
        storage.stat(output)


def test_finished_writer_is_refused_and_the_part_stays(storage: MemoryStorage, output: str) -> None:
    writer = PartWriter(storage, output, SCHEMA, footer={})
    writer.write(make_rows(0, 2))
    writer.commit()
    with pytest.raises(AccountingError, match="already committed"):
        writer.write(make_rows(2, 3))
    with pytest.raises(AccountingError, match="already committed"):
        writer.commit()
    assert _table(storage, output).num_rows == 2


def test_impossible_settings_leave_nothing(storage: MemoryStorage, output: str) -> None:
    failing = FailingStorage(fail_at=-1)
    with pytest.raises(Exception, match=r"[Cc]odec"):
        PartWriter(failing, output, SCHEMA, footer={}, compression="no such codec")
    assert failing.last.finished
