"""Owns the reading of parts for everything downstream: one part, a whole output, counts. Knows no tar and no image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curator.errors import ConfigError, ShardError
from curator.storage import join
from curator.storage.base import Entry, Storage
from curator.tables.ranged import RangedFile
from curator.tables.schema import EMBEDDING, FOOTER_PREFIX, SCHEMA_VERSION, STATUS_OK, VERSION_KEY, columns_of_kind

_PART_PREFIX = "part-"
_PART_SUFFIX = ".parquet"


class PartError(ShardError):
    """A part cannot be read as what it should be; running its shard again replaces it."""


def part_url(output_url: str, shard_id: str) -> str:
    """Where the part of a shard lies: the same name for every attempt."""
    return join(output_url, f"{_PART_PREFIX}{shard_id}{_PART_SUFFIX}")


def way_out(url: str) -> str:
    """What ends the message on a part that cannot be read: its reader knows no receipts."""
    return f"`curator verify {url.rpartition('/')[0] or '.'}` says how to make it anew"


def parts(output_url: str, storage: Storage) -> Iterator[Entry]:
    """The parts of an output in order of url. Only names ``part-*.parquet`` directly under it count."""
    prefix = join(output_url, _PART_PREFIX)
    for entry in storage.list(prefix):
        name = entry.url.rpartition("/")[2]
        if name.startswith(_PART_PREFIX) and name.endswith(_PART_SUFFIX) and entry.url.count("/") == prefix.count("/"):
            yield entry


class Part:
    """One open part. ``footer`` is the provenance as given to the writer, ``rows`` the count that the file states."""

    def __init__(self, entry: Entry, storage: Storage) -> None:
        self.url = entry.url
        with self._readable():
            self._file = pq.ParquetFile(
                pa.PythonFile(RangedFile(storage, entry), mode="r"), pre_buffer=True, page_checksum_verification=True
            )
        stored: dict[bytes, bytes] = self._file.metadata.metadata or {}
        prefix = FOOTER_PREFIX.encode()
        ours = {key.decode(): value.decode() for key, value in stored.items() if key.startswith(prefix)}
        version = ours.pop(VERSION_KEY, "")
        if not version.isdecimal():
            raise PartError(f"{self.url}: is not a part, its footer has no {VERSION_KEY}; move it out of the output")
        if int(version) > SCHEMA_VERSION:
            raise ConfigError(
                f"{self.url}: has schema version {version}, this Curator reads up to {SCHEMA_VERSION}; upgrade it"
            )
        self.schema_version = int(version)
        self.footer = {key.removeprefix(FOOTER_PREFIX): value for key, value in ours.items()}
        self.rows: int = self._file.metadata.num_rows
        self.schema = pa.schema(list(self._file.schema_arrow), metadata={VERSION_KEY: version})

    def batches(self, columns: Sequence[str] | None = None, *, batch_rows: int = 8192) -> Iterator[pa.RecordBatch]:
        """All rows in order, with memory for one row group. ``columns`` may hold dotted paths to nested leaves."""
        for column in columns or ():
            if column.partition(".")[0] not in self.schema.names:
                raise ConfigError(f"{self.url}: has no column '{column}'; it has {', '.join(self.schema.names)}")
        # Asking group by group keeps Arrow's read-ahead from holding the whole file.
        for group in range(self._file.num_row_groups):
            batches = self._file.iter_batches(batch_size=batch_rows, row_groups=[group], columns=columns)
            while True:
                with self._readable():
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch

    def close(self) -> None:
        self._file.close(force=True)

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise PartError(f"{self.url}: is not readable as Parquet ({error}); {way_out(self.url)}") from error


def open_part(url: str, storage: Storage) -> Part:
    """The part at ``url``. ``NotFoundError`` where there is none, ``PartError`` where it is not a readable part."""
    return Part(storage.stat(url), storage)


def first_part(output_url: str, storage: Storage) -> Part:
    """The first part of a run's output: all have its columns and provenance. ConfigError where there is none."""
    for entry in parts(output_url, storage):
        return Part(entry, storage)
    raise _no_parts(output_url)


def footer(url: str, storage: Storage) -> dict[str, str]:
    """The provenance of a part, keys as they were given to the writer."""
    with open_part(url, storage) as part:
        return part.footer


def schema_of(output_url: str, storage: Storage) -> pa.Schema:
    """The columns of a run's output, from its first part. ConfigError where there is none."""
    with first_part(output_url, storage) as part:
        return part.schema


def scan(
    output_url: str,
    storage: Storage,
    columns: Sequence[str] | None = None,
    *,
    only_ok: bool = False,
    batch_rows: int = 8192,
) -> Iterator[pa.RecordBatch]:
    """The rows of a whole output, part by part in order of url, with memory for one row group.

    ``only_ok`` leaves out rejected rows. ``ConfigError`` where there are no parts or their schemas are not one.
    """
    asked = None if columns is None else list(dict.fromkeys(columns))
    read = asked
    if only_ok and asked is not None and "status" not in asked:
        read = [*asked, "status"]
    first: Part | None = None
    for entry in parts(output_url, storage):
        with Part(entry, storage) as part:
            first = first or part
            if not part.schema.equals(first.schema):
                raise ConfigError(
                    f"{output_url}: {part.url} and {first.url} have different columns; keep one run in one output"
                )
            for batch in part.batches(read, batch_rows=batch_rows):
                if only_ok:
                    batch = batch.filter(pc.equal(batch.column("status"), STATUS_OK))
                yield batch.drop_columns(["status"]) if read != asked else batch
    if first is None:
        raise _no_parts(output_url)


def _no_parts(output_url: str) -> ConfigError:
    return ConfigError(f"{output_url}: holds no part-*.parquet; give the output of a run")


def vectors(batch: pa.RecordBatch, name: str = EMBEDDING) -> NDArray[np.floating[Any]]:
    """The embeddings of a batch as [n, D] in the part's dtype, row for row; NaN where rejected."""
    column = batch.column(name)
    size = column.type.list_size
    values = column.values.slice(column.offset * size, len(column) * size)
    matrix: NDArray[np.floating[Any]] = values.to_numpy(zero_copy_only=False).reshape(-1, size)
    return matrix


@dataclass
class Counts:
    """What a run produced. ``top1`` maps each label set to rows by their best label; ``abstained`` each to its rows."""

    rows: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    top1: dict[str, Counter[str]] = field(default_factory=dict)
    abstained: Counter[str] = field(default_factory=Counter)


def count_values(output_url: str, storage: Storage) -> Counts:
    """Counts over all parts, in memory bounded by the number of different labels and reasons. No parts give zeros."""
    counts = Counts()
    for entry in parts(output_url, storage):
        with Part(entry, storage) as part:
            label_sets = columns_of_kind(part.schema, "labels")
            flags = [f"{name}_abstained" for name in label_sets if f"{name}_abstained" in part.schema.names]
            leaves = [f"{name}.list.element.label" for name in label_sets]
            for batch in part.batches(["status", "reason", *leaves, *flags]):
                counts.rows += batch.num_rows
                counts.rejected += batch.num_rows - _true(pc.equal(batch.column("status"), STATUS_OK))
                _add(counts.reasons, batch.column("reason").drop_null())
                for name in label_sets:
                    _add(counts.top1.setdefault(name, Counter()), _best(batch.column(name)))
                for name in flags:
                    counts.abstained[name.removesuffix("_abstained")] += _true(batch.column(name))
    return counts


def _true(flags: pa.Array) -> int:
    return int(pc.sum(flags).as_py() or 0)


def _best(lists: pa.ListArray) -> pa.Array:
    """The first label of every list that has one."""
    offsets = lists.offsets.to_numpy()
    filled = np.diff(offsets) > 0
    return pc.struct_field(lists.values, "label").take(pa.array(offsets[:-1][filled]))


def _add(counter: Counter[str], values: Any) -> None:
    counted = pc.value_counts(values)
    for value, n in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
        counter[value] += n
