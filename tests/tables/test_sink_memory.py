"""The sink holds one row group, however many rows come and however they are portioned."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from curator.data import ColumnSpec, Rows
from curator.storage import Entry
from curator.tables.schema import build_schema
from curator.tables.sink import PartWriter
from tests.tables.rows import make_rows


class Meter:
    """An upload to nowhere that notes the most Arrow memory held at any write."""

    def __init__(self) -> None:
        gc.collect()  # what other tests left must not be freed in between
        self.start = pa.total_allocated_bytes()
        self.peak = 0
        self.written = 0

    def upload(self, url: str) -> Meter:
        return self

    def write(self, data: bytes, /) -> int:
        self.peak = max(self.peak, pa.total_allocated_bytes() - self.start)
        self.written += len(data)
        return len(data)

    def commit(self) -> Entry:
        return Entry("", self.written, "")

    def abort(self) -> None:
        pass


@pytest.mark.parametrize("portion", [300, 32 * 512])
def test_memory_is_bounded_by_a_row_group(portion: int) -> None:
    dim, group, total = 256, 512, 32 * 512
    schema = build_schema(dim, "float32", [ColumnSpec("flag", "flag", "d")])
    record = make_rows(0, 1).records[0]
    vectors = np.random.default_rng(0).standard_normal((total, dim)).astype(np.float32)
    meter = Meter()
    writer = PartWriter(meter, "nowhere", schema, footer={}, row_group_rows=group)  # type: ignore[arg-type]
    for start in range(0, total, portion):
        n = min(portion, total - start)
        records = [replace(record, index=start + i) for i in range(n)]
        writer.write(
            Rows("s", records, np.ones(n, np.bool_), vectors[start : start + n], {"flag": np.ones(n, np.bool_)})
        )
    writer.commit()
    group_bytes = group * dim * 4
    assert meter.written > 25 * group_bytes
    assert 0 < meter.peak < 6 * group_bytes
