"""verify_part finds each kind of damage, names it, and finds nothing in a good part."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.errors import RetryableError
from curator.storage import MemoryStorage
from curator.tables.readers import PartError, open_part
from curator.tables.schema import build_schema
from curator.tables.verify import verify_part
from tests.tables.rows import COLUMNS, DIM, SCHEMA, SHARD, join_rows, make_row, make_rows, write_part


@pytest.mark.parametrize("count", [0, 1, 13])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_good_part_has_no_problem(storage: MemoryStorage, output: str, count: int, dtype: str) -> None:
    schema = build_schema(DIM, dtype, COLUMNS)
    write_part(storage, output, make_rows(0, count, rejects=(0, 5, 12)), schema=schema)
    assert verify_part(output, storage, schema=schema, rows=count, shard_url=SHARD) == []


def test_key_that_is_not_utf8_is_recognised(storage: MemoryStorage, output: str) -> None:
    rows = [make_row(i, reject=False) for i in range(3)]
    rows[1]["key"] = b"caf\xe9".decode("utf-8", "surrogateescape")
    rows[2]["key"] = "literally \\xe9"
    write_part(storage, output, join_rows(rows))
    assert verify_part(output, storage, shard_url=SHARD) == []


DAMAGE: list[tuple[dict[str, Any], str]] = [
    ({"index": 9}, "index is not the row's number in 1 of 6 rows, first in row 2"),
    ({"sample_id": "0" * 32}, "sample_id is not the digest of shard and key in 1"),
    ({"key": "another"}, "sample_id is not the digest of shard and key in 1"),
    ({"shard": "other.tar"}, f"shard is not {SHARD} in 1"),
    ({"status": "maybe"}, "status is neither 'ok' nor 'rejected' in 1"),
    ({"status": "rejected"}, "reason is missing where rejected in 1"),
    ({"status": "rejected"}, "embedding is given where rejected in 1"),
    ({"status": "rejected"}, "things is given where rejected in 1"),
    ({"reason": "why"}, "reason is given where ok in 1"),
    ({"embedding": [None] * DIM}, "embedding is missing where ok in 1"),
    ({"embedding": [1.0] + [None] * (DIM - 1)}, "embedding is not of unit norm in 1"),
    ({"embedding": [float("inf")] * DIM}, "embedding is not of unit norm in 1"),
    ({"embedding": [1.0] * DIM}, "embedding is not of unit norm in 1"),
    ({"embedding": [float("nan")] * DIM}, "embedding is missing where ok in 1"),
    ({"things": None}, "things is missing where ok in 1"),
    ({"things_abstained": None}, "things_abstained is missing where ok in 1"),
]


@pytest.mark.parametrize(("change", "problem"), DAMAGE)
def test_damage_is_named(storage: MemoryStorage, output: str, change: dict[str, Any], problem: str) -> None:
    write_part(storage, output, make_rows(0, 6))
    rows = pq.read_table(io.BytesIO(storage.read(output))).to_pylist()
    rows[2] |= change
    if "embedding" in change:  # older pyarrows make halves of halves only
        rows[2]["embedding"] = [None if x is None else np.float16(x) for x in change["embedding"]]
    damaged = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), damaged)
    storage.write(output, damaged.getvalue())
    assert any(problem in found for found in verify_part(output, storage, schema=SCHEMA, rows=6, shard_url=SHARD))


def test_receipt_and_schema_are_compared(storage: MemoryStorage, output: str) -> None:
    write_part(storage, output, make_rows(0, 6))
    other = build_schema(DIM, "float32", COLUMNS[:-1])
    assert verify_part(output, storage, rows=7) == [f"{output}: has 6 rows, its receipt says 7"]
    problems = verify_part(output, storage, schema=other)
    assert len(problems) == 2
    assert "'embedding' is fixed_size_list<element: halffloat>[8], where the run's schema has" in problems[0]
    assert "'language' is string, where the run's schema has absent" in problems[1]
    turned = build_schema(DIM, "float16", COLUMNS[::-1])
    assert verify_part(output, storage, schema=turned) == [
        f"{output}: columns stand in another order than in the schema"
    ]


def test_unreadable_and_missing_parts_are_problems(storage: MemoryStorage, output: str) -> None:
    assert verify_part(output, storage) == [f"{output}: is missing"]
    write_part(storage, output, make_rows(0, 6))
    data = bytearray(storage.read(output))
    at = pq.read_metadata(io.BytesIO(data)).row_group(0).column(1)
    data[at.data_page_offset + at.total_compressed_size - 3] ^= 1  # in the values of the first page, past its header
    storage.write(output, bytes(data))
    assert "checksum verification failed" in verify_part(output, storage)[0]
    storage.write(output, bytes(data[:500]))
    (problem,) = verify_part(output, storage)
    assert "is not readable as Parquet" in problem
    assert "curator verify" not in problem, "who reads this has called it"
    with pytest.raises(PartError, match=f"; `curator verify {output.rpartition('/')[0]}` says how to make it anew$"):
        open_part(output, storage)


def test_faults_of_the_storage_are_no_problem_of_the_part(output: str) -> None:
    class Down(MemoryStorage):
        def stat(self, url: str) -> Any:
            raise RetryableError("down")

    with pytest.raises(RetryableError):
        verify_part(output, Down())
