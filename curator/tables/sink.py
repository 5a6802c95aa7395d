"""Owns the writing of one part: row groups, accounting, footer, atomic publication. Knows no head and no ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curator.data import Rows
from curator.errors import CuratorError
from curator.storage.base import Entry, Storage, Upload
from curator.tables.columns import ColumnBuilder, slice_rows
from curator.tables.schema import EMBEDDING, FOOTER_PREFIX

ROW_GROUP_ROWS = 8192
"""512-d float16 embeddings make a row group of about 8 MiB: one good ranged read of an object store."""

ROW_GROUP_BYTES = 128 * 2**20
"""Ordinary captions and metadata fill a hundredth of this; a shard of megabyte captions closes its row groups early."""

_WRITE_BYTES = 2**20
_ROWS_AT_ONCE = 512  # an Arrow string array ends at 2 GiB, and the longest texts let through have a few MiB

# Dictionaries and min/max help where values repeat or are searched; on these they cost and give nothing.
_UNIQUE_COLUMNS = frozenset({"sample_id", "key", "index", "offset", "sha256", "caption", "metadata", EMBEDDING})
_NO_STATISTICS = frozenset({"sha256", "caption", "metadata", "message", EMBEDDING})


class AccountingError(CuratorError):
    """Rows do not stand for the shard's samples one to one, in order: a fault of the program, not of the data."""


class _Sink:
    """A write-only file for Arrow over an Upload, which gathers Arrow's many small writes (30 a row group and more).

    Once closed it swallows what Arrow's destructors still write.
    """

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._gathered = bytearray()
        self._position = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        if not self.closed:
            self._gathered += data
            self._position += len(data)
            if len(self._gathered) >= _WRITE_BYTES:
                self._send()
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing to do: bytes leave when enough have gathered."""

    def finish(self) -> None:
        """Send the rest, then close."""
        if self._gathered:
            self._send()
        self.close()

    def close(self) -> None:
        self.closed = True
        self._gathered.clear()

    def _send(self) -> None:
        self._upload.write(bytes(self._gathered))
        self._gathered.clear()


class PartWriter:
    """Writes the rows of one shard to ``url``. Nothing is visible before ``commit``, nothing remains after ``abort``.

    ``footer`` is the provenance: every item is written to the Parquet key-value metadata with ``curator.`` before its
    key. Rows come in any portions and are written in row groups of ``row_group_rows``, or of fewer where captions and
    metadata make up ``row_group_bytes`` before: both together bound the memory. The bytes of the part depend on the
    rows and not on the portions. Any failure aborts. As a context manager it aborts unless committed.
    """

    def __init__(
        self,
        storage: Storage,
        url: str,
        schema: pa.Schema,
        *,
        footer: Mapping[str, str],
        row_group_rows: int = ROW_GROUP_ROWS,
        row_group_bytes: int = ROW_GROUP_BYTES,
        compression: str = "zstd",
        level: int | None = 3,
    ) -> None:
        self.url = url
        self._schema = schema
        self._row_group_rows = row_group_rows
        self._builder = ColumnBuilder(schema)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._row_group_bytes = row_group_bytes
        self._rows = 0
        self._shard: str | None = None
        self._footer = {f"{FOOTER_PREFIX}{key}": value for key, value in footer.items()}
        self._upload = storage.upload(url)
        self._sink = _Sink(self._upload)
        self._writer: Any = None
        try:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._sink, mode="w"),
                schema,
                compression=compression,
                compression_level=level,
                **_column_settings(schema),
            )
        except BaseException:
            self.abort()
            raise

    @property
    def rows(self) -> int:
        """Rows accepted so far."""
        return self._rows

    def write(self, rows: Rows) -> None:
        """Append rows that follow the ones before without a gap. Raises ``AccountingError`` otherwise, and aborts."""
        try:
            self._refuse_finished()
            self._account(rows)
            start, total = 0, len(rows.records)
            while start < total:
                stop = min(total, start + min(_ROWS_AT_ONCE, self._row_group_rows - self._pending_rows))
                self._append(self._built(slice_rows(rows, start, stop)))
                start = stop
        except BaseException:
            self.abort()
            raise

    def append(self, batch: pa.RecordBatch) -> None:
        """Append rows that are columns already, in the writer's schema; like ``write`` they follow without a gap."""
        try:
            self._refuse_finished()
            if not batch.schema.equals(self._schema):
                raise AccountingError(f"{self.url}: rows with the columns {', '.join(batch.schema.names)} do not fit")
            index = batch.column("index").to_numpy()
            if not np.array_equal(index, np.arange(self._rows, self._rows + len(index))):
                raise AccountingError(f"{self.url}: rows came where row {self._rows} was due; every row once, in order")
            start = 0
            while start < batch.num_rows:
                taken = batch.slice(start, self._row_group_rows - self._pending_rows)
                self._append(taken)
                start += taken.num_rows
        except BaseException:
            self.abort()
            raise

    def commit(self) -> Entry:
        """Write what is pending and the footer, then publish the part in one step."""
        try:
            self._refuse_finished()
            self._flush()
            self._writer.add_key_value_metadata(self._footer)
            self._writer.close()
            self._writer = None
            self._sink.finish()
            return self._upload.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Discard the part. Harmless after ``commit`` and when called twice."""
        self._sink.close()
        self._pending.clear()
        self._writer = None  # its destructor writes a footer, which the closed sink swallows
        self._upload.abort()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _refuse_finished(self) -> None:
        if self._sink.closed:
            raise AccountingError(f"{self.url}: the part is already committed or aborted; open another PartWriter")

    def _account(self, rows: Rows) -> None:
        if self._shard is None:
            self._shard = rows.shard_url
        if rows.shard_url != self._shard:
            raise AccountingError(f"{self.url}: rows of shard {rows.shard_url} in the part of shard {self._shard}")
        expected = self._rows
        for record in rows.records:
            if record.index != expected:
                raise AccountingError(
                    f"{self._shard}: row {record.index} ('{record.key}') came where row {expected} was due;"
                    " every sample must give one row, in order"
                )
            expected += 1

    def _built(self, rows: Rows) -> pa.RecordBatch:
        try:
            return self._builder.batch(rows)
        except (ValueError, IndexError) as error:  # Arrow's own are among them
            first, last = rows.records[0].index, rows.records[-1].index
            raise AccountingError(f"{self._shard}: rows {first} to {last} do not fit the schema: {error}") from error

    def _append(self, batch: pa.RecordBatch) -> None:
        """Take rows that the row group has room for by number; it is closed earlier where their texts fill it."""
        self._rows += batch.num_rows
        filled = self._pending_bytes + np.cumsum(_text_bytes(batch))
        start = 0
        for row in range(batch.num_rows) if filled.max(initial=0) >= self._row_group_bytes else ():
            if filled[row] >= self._row_group_bytes:
                self._pending.append(batch.slice(start, row + 1 - start))
                self._flush()
                filled -= filled[row]
                start = row + 1
        if start < batch.num_rows:
            self._pending.append(batch.slice(start))
            self._pending_rows += batch.num_rows - start
            self._pending_bytes = int(filled[-1])
        if self._pending_rows >= self._row_group_rows:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        # One chunk a column: page borders follow chunk borders, and must not tell how the rows came in.
        table = pa.Table.from_batches(self._pending).combine_chunks()
        self._pending.clear()
        self._pending_rows = self._pending_bytes = 0
        self._writer.write_table(table, row_group_size=self._row_group_rows)


def _text_bytes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Bytes of each row in the columns whose length the sample decides."""
    total = np.zeros(batch.num_rows, np.int64)
    for name in {"caption", "metadata"} & set(batch.schema.names):
        total += pc.fill_null(pc.binary_length(batch.column(name)), 0).to_numpy()
    return total


def _column_settings(schema: pa.Schema) -> dict[str, Any]:
    """Parquet writer options per leaf column.

    float32 embeddings are byte-stream-split (with zstd 0.85 of raw against 0.93 plain, as fast or faster to read);
    float16 ones are plain, since DuckDB reads byte-stream-split only for 4- and 8-byte numbers.
    """
    leaves = [(field.name, path, type_) for field in schema for path, type_ in _leaves(field.name, field.type)]
    split = {path: "BYTE_STREAM_SPLIT" for name, path, type_ in leaves if name == EMBEDDING and type_ == pa.float32()}
    return {
        "use_dictionary": [p for name, p, t in leaves if name not in _UNIQUE_COLUMNS and not pa.types.is_floating(t)],
        "write_statistics": [path for name, path, _ in leaves if name not in _NO_STATISTICS],
        "column_encoding": split or None,
        "write_page_checksum": True,
        "store_schema": True,
    }


def _leaves(path: str, type_: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """Every Parquet leaf column under a field, as (dotted path, type)."""
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_):
        yield from _leaves(f"{path}.list.{type_.value_field.name}", type_.value_type)
    elif pa.types.is_struct(type_):
        for child in type_:
            yield from _leaves(f"{path}.{child.name}", child.type)
    else:
        yield path, type_
