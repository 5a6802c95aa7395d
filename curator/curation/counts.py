"""Owns what is counted of a part and the file that keeps it: section, key, name, n. Knows no ledger and no schedule.

Counts of parts add up: what is merged from the parts of a run is exact, whichever attempt wrote them.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curator.kernels.concepts import ConceptTexts
from curator.kernels.ngrams import ngram_key, ngrams
from curator.tables.columns import valid_text
from curator.tables.readers import Part
from curator.tables.schema import STATUS_OK, field_kind

TEXT, IMAGE, BOTH = "concept.text", "concept.image", "concept.both"
TOTAL, CAPTION, PICTURE, NGRAM, COLUMN = "total", "caption", "image", "ngram", "column."
SCHEMA = pa.schema(
    [
        pa.field("section", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("n", pa.int64(), nullable=False),
    ]
)
_MERGE_ROWS = 1_000_000
_KEYS = {"labels": ("label_id", "label"), "entities": ("entity_id", "name")}


@dataclass(frozen=True)
class Counting:
    """What is counted. ``concepts`` are (id, name, aliases); their images are the rows of ``images_column`` that hold
    the id with at least ``min_score``. ``columns`` are counted entry by entry; ``captions``, ``images`` and
    ``ngrams`` (words and pairs of words of captions) by digest.
    """

    concepts: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    images_column: str | None = None
    min_score: float = 0.0
    rule: Literal["words", "phrase"] = "words"
    columns: tuple[str, ...] = ()
    captions: bool = True
    images: bool = True
    ngrams: bool = False


@dataclass
class PartCounts:
    """Counts of one part under way: (section, key) -> n, and the names of keys that have one."""

    numbers: Counter[tuple[str, str]] = field(default_factory=Counter)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    rows: int = 0

    def table(self) -> pa.Table:
        """All that is not zero, in order of section and key."""
        order = sorted(key for key, n in self.numbers.items() if n)
        columns = [
            pa.array([section for section, _ in order], pa.string()),
            pa.array([key for _, key in order], pa.string()),
            pa.array([self.names.get(key) for key in order], pa.string()),
            pa.array([self.numbers[key] for key in order], pa.int64()),
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA)


def to_bytes(table: pa.Table, footer: Mapping[str, str]) -> bytes:
    """A table as Parquet, with ``footer`` in its metadata."""
    buffer = io.BytesIO()
    metadata = {f"curator.{key}": value for key, value in footer.items()}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    return buffer.getvalue()


def from_bytes(data: bytes) -> tuple[pa.Table, dict[str, str]]:
    """What ``to_bytes`` wrote: the table and its footer."""
    table = pq.read_table(pa.BufferReader(data))
    stored: dict[bytes, bytes] = table.schema.metadata or {}
    return table, {key.decode().removeprefix("curator."): value.decode() for key, value in stored.items()}


def caption_key(caption: str) -> str:
    """The identity of a caption: 32 hexadecimal digits of the SHA-256 of its UTF-8."""
    return hashlib.sha256(valid_text(caption).encode()).hexdigest()[:32]


class PartCounter:
    """Counts the rows of parts. Texts of concepts are indexed once."""

    def __init__(self, counting: Counting, find: ConceptTexts | None) -> None:
        self._counting = counting
        self._find = find
        self._ids = pa.array([concept for concept, _, _ in counting.concepts], pa.string())

    def columns(self, part: Part) -> list[str]:
        """The columns of a part that counting needs."""
        wanted = ["status", "caption", *self._counting.columns]
        if self._counting.images:
            wanted.append("sha256")
        if self._find and self._counting.images_column:
            wanted.append(self._counting.images_column)
        return list(dict.fromkeys(wanted))

    def add(self, batch: pa.RecordBatch, counts: PartCounts) -> None:
        """Count the rows of a batch into ``counts``; rejected rows count as samples and as nothing else."""
        counts.rows += batch.num_rows
        numbers = counts.numbers
        numbers[TOTAL, "samples"] += batch.num_rows
        batch = batch.filter(pc.equal(batch.column("status"), STATUS_OK))
        captions = [caption or None for caption in batch.column("caption").to_pylist()]
        numbers[TOTAL, "ok"] += batch.num_rows
        numbers[TOTAL, "captioned"] += sum(caption is not None for caption in captions)
        for name in self._counting.columns:
            _add_entries(counts, f"{COLUMN}{name}", batch.column(name), batch.schema.field(name))
        if self._counting.captions:
            numbers.update((CAPTION, caption_key(caption)) for caption in captions if caption)
        if self._counting.ngrams:
            _add_ngrams(counts, captions)
        if self._counting.images:
            numbers.update((PICTURE, digest) for digest in batch.column("sha256").to_pylist() if digest)
        if self._find:
            self._add_concepts(batch, captions, numbers)

    def _add_concepts(
        self, batch: pa.RecordBatch, captions: Sequence[str | None], numbers: Counter[tuple[str, str]]
    ) -> None:
        assert self._find is not None
        size = len(self._counting.concepts)
        named = [(row, concept) for row, caption in enumerate(captions) if caption for concept in self._find(caption)]
        texts = np.array([row * size + concept for row, concept in named], np.int64)
        images = self._seen(batch, size)
        both = np.intersect1d(texts, images)
        for section, cells in ((TEXT, texts), (IMAGE, images), (BOTH, both)):
            found, n = np.unique(cells % size, return_counts=True)
            for concept, times in zip(found.tolist(), n.tolist(), strict=True):
                numbers[section, self._counting.concepts[concept][0]] += times
        for name, cells in (("with_text", texts), ("with_image", images), ("aligned", both)):
            numbers[TOTAL, name] += len(np.unique(cells // size))

    def _seen(self, batch: pa.RecordBatch, size: int) -> NDArray[np.int64]:
        """row * size + concept for every concept that a row's image has, each once."""
        name = self._counting.images_column
        if name is None:
            return np.empty(0, np.int64)
        column = batch.column(name)
        id_key, _ = _KEYS[field_kind(batch.schema.field(name))]
        rows, values = pc.list_parent_indices(column), pc.list_flatten(column)
        concepts = pc.index_in(pc.struct_field(values, id_key), self._ids)
        scores = pc.fill_null(pc.struct_field(values, "score"), float("inf"))  # a label without a score is certain
        kept = pc.and_(pc.is_valid(concepts), pc.greater_equal(scores, self._counting.min_score))
        cells = rows.to_numpy(zero_copy_only=False).astype(np.int64) * size + pc.fill_null(concepts, 0).to_numpy()
        unique: NDArray[np.int64] = np.unique(cells[kept.to_numpy(zero_copy_only=False)])
        return unique


def _add_ngrams(counts: PartCounts, captions: Sequence[str | None]) -> None:
    found = Counter(ngram for caption in captions if caption for ngram in ngrams(valid_text(caption)))
    for ngram, n in found.items():
        key = NGRAM, ngram_key(ngram)
        counts.numbers[key] += n
        counts.names[key] = min(ngram, counts.names.get(key, ngram))


def _add_entries(counts: PartCounts, section: str, column: pa.Array, column_field: pa.Field) -> None:
    """Rows by each entry of a list column. An entry that a row holds twice counts once."""
    rows, values = pc.list_parent_indices(column), pc.list_flatten(column)
    keys = _KEYS.get(field_kind(column_field))
    ids = pc.struct_field(values, keys[0]) if keys else values
    pairs = pa.table({"row": rows, "id": ids, "name": pc.struct_field(values, keys[1]) if keys else ids})
    pairs = pairs.group_by(["row", "id"]).aggregate([("name", "min")])
    grouped = pairs.group_by("id").aggregate([("row", "count"), ("name_min", "min")])
    _tally(counts, section, grouped.to_pydict(), named=keys is not None)


def _tally(counts: PartCounts, section: str, grouped: Mapping[str, Sequence[Any]], *, named: bool) -> None:
    for key, n, name in zip(grouped["id"], grouped["row_count"], grouped["name_min_min"], strict=True):
        counts.numbers[section, key] += n
        if named and name is not None:
            counts.names[section, key] = min(name, counts.names.get((section, key), name))


def merged(tables: Iterable[pa.Table]) -> pa.Table:
    """The sum of counts, in order of section and key; of several names of one key the first in order stays.

    Holds about twice as many rows as there are different keys.
    """
    total, pending, waiting = SCHEMA.empty_table(), [], 0
    for table in tables:
        pending.append(table.replace_schema_metadata(None))
        waiting += table.num_rows
        if waiting > max(_MERGE_ROWS, total.num_rows):
            total, pending, waiting = _summed([total, *pending]), [], 0
    return _summed([total, *pending]).sort_by([("section", "ascending"), ("key", "ascending")])


def _summed(tables: Sequence[pa.Table]) -> pa.Table:
    grouped = pa.concat_tables(tables).group_by(["section", "key"]).aggregate([("name", "min"), ("n", "sum")])
    renamed = grouped.select(["section", "key", "name_min", "n_sum"]).rename_columns(SCHEMA.names)
    return renamed.cast(SCHEMA)
