"""Rows of one shard between the reader and the sink: gathered in blocks, filled out of order, taken in order.

Owns the scatter of batch results into place; knows no thread, file or model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.data import ColumnSpec, ColumnValues, Labels, RowRecord, Rows

_EMPTY: tuple[Any, ...] = ()


class LabelBlock:
    """Labels of up to ``capacity`` rows, scattered in from batches whose label lists may be shared or all different."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ids: Sequence[str] = _EMPTY
        self._names: Sequence[str] = _EMPTY
        self._indices = np.zeros((capacity, 0), np.int64)
        self._scores = np.zeros((capacity, 0), np.float32)
        self._counts = np.zeros(capacity, np.int64)

    def put(self, places: NDArray[np.int64], labels: Labels, picked: NDArray[np.int64]) -> None:
        k = labels.indices.shape[1]
        if k > self._indices.shape[1]:
            pad = ((0, 0), (0, k - self._indices.shape[1]))
            self._indices, self._scores = np.pad(self._indices, pad), np.pad(self._scores, pad)
        base = 0
        if not len(self._names):
            self._ids, self._names = labels.ids, labels.names
        elif labels.names is not self._names:
            base = len(self._names)
            self._ids, self._names = [*self._ids, *labels.ids], [*self._names, *labels.names]
        self._indices[places, :k] = labels.indices[picked] + base
        self._scores[places, :k] = labels.scores[picked]
        self._counts[places] = labels.counts[picked]

    def take(self, n: int) -> Labels:
        return Labels(self._ids, self._names, self._indices[:n], self._scores[:n], self._counts[:n])


class Block:
    """``capacity`` consecutive rows from ``start`` on. Every row is admitted once and settled once."""

    def __init__(self, start: int, capacity: int, dim: int, columns: Sequence[ColumnSpec]) -> None:
        self.start = start
        self.capacity = capacity
        self.records: list[RowRecord | None] = []
        self.settled = 0
        self._ok = np.zeros(capacity, np.bool_)
        self._vectors = np.zeros((capacity, dim), np.float32)
        self._columns: dict[str, Any] = {}
        for column in columns:
            if column.kind == "labels":
                self._columns[column.name] = LabelBlock(capacity)
            elif column.kind == "flag":
                self._columns[column.name] = np.zeros(capacity, np.bool_)
            elif column.kind == "score":
                self._columns[column.name] = np.full(capacity, np.nan, np.float32)
            elif column.kind == "count":
                self._columns[column.name] = np.full(capacity, -1, np.int64)
            elif column.kind == "vector":
                self._columns[column.name] = np.zeros((capacity, column.size), np.float32)
            elif column.kind == "text":
                self._columns[column.name] = [None] * capacity
            else:
                self._columns[column.name] = [_EMPTY] * capacity

    def settle_rejected(self, record: RowRecord) -> None:
        self.records[record.index - self.start] = record
        self.settled += 1

    def settle_embedded(
        self,
        records: Sequence[RowRecord],
        vectors: NDArray[np.float32],
        annotations: Mapping[str, ColumnValues],
        picked: NDArray[np.int64],
    ) -> None:
        """Put rows ``picked`` of a batch in place; ``vectors`` [B, D] and ``annotations`` are the batch's."""
        places = np.fromiter((record.index - self.start for record in records), np.int64, len(records))
        for place, record in zip(places.tolist(), records, strict=True):
            self.records[place] = record
        self._ok[places] = True
        self._vectors[places] = vectors[picked]
        for name, values in annotations.items():
            column = self._columns[name]
            if isinstance(values, Labels):
                column.put(places, values, picked)
            elif isinstance(values, np.ndarray):
                column[places] = values[picked]
            else:
                for place, row in zip(places.tolist(), picked.tolist(), strict=True):
                    column[place] = values[row]
        self.settled += len(records)

    def take(self, shard_url: str) -> Rows:
        """All rows of the block, once each of them is settled."""
        n = len(self.records)
        records = [record for record in self.records if record is not None]
        if not (self.settled == n == len(records)):
            raise RuntimeError(f"{shard_url}: block at {self.start} taken with {self.settled} of {n} rows settled")
        annotations: dict[str, ColumnValues] = {
            name: column.take(n) if isinstance(column, LabelBlock) else column[:n]
            for name, column in self._columns.items()
        }
        return Rows(shard_url, records, self._ok[:n], self._vectors[:n], annotations)
