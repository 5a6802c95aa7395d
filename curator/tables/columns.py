"""Owns how finished rows become Arrow columns, with no Python loop over vectors or labels. Knows no file or storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curator.data import ColumnValues, EntityTag, Labels, Rows, sample_id
from curator.tables.schema import EMBEDDING, FIXED_COLUMNS, STATUS_OK, STATUS_REJECTED, field_kind

_HEX_PAIRS = np.array([f"{byte:02x}" for byte in range(256)], dtype="S2")


def valid_text(text: str) -> str:
    """``text`` with everything that UTF-8 cannot carry made visible: an undecodable byte as ``\\xNN``, a lone surrogate
    as ``\\uNNNN``. Nothing is lost but the difference to a text that had those characters literally."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def slice_rows(rows: Rows, start: int, stop: int) -> Rows:
    """Rows ``start`` to ``stop`` as views where the values are arrays."""
    return Rows(
        rows.shard_url,
        rows.records[start:stop],
        rows.ok[start:stop],
        rows.vectors[start:stop],
        {name: _slice_values(values, start, stop) for name, values in rows.annotations.items()},
    )


def _slice_values(values: ColumnValues, start: int, stop: int) -> ColumnValues:
    if isinstance(values, Labels):
        return replace(
            values,
            indices=values.indices[start:stop],
            scores=values.scores[start:stop],
            counts=values.counts[start:stop],
        )
    return values[start:stop]


class ColumnBuilder:
    """Turns Rows into record batches of one schema. The Arrow copies of shared label names are kept between calls."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._heads = [field for field in schema if field.name not in FIXED_COLUMNS]
        self._names: dict[tuple[str, str], tuple[Sequence[str], pa.Array]] = {}

    def batch(self, rows: Rows) -> pa.RecordBatch:
        """All columns of n rows. Raises ``ValueError`` where shapes, lengths or columns do not fit each other."""
        n, ok = len(rows.records), np.asarray(rows.ok, dtype=np.bool_)
        dim = self.schema.field(EMBEDDING).type.list_size
        if ok.shape != (n,) or rows.vectors.shape != (n, dim):
            raise ValueError(
                f"{n} records need ok [{n}] and vectors [{n}, {dim}], not {ok.shape}, {rows.vectors.shape}"
            )
        arrays = [*self._fixed(rows, ok), _vectors(self.schema.field(EMBEDDING).type, rows.vectors, ok)]
        extra = set(rows.annotations) - {field.name for field in self._heads}
        if extra:
            raise ValueError(f"annotations {sorted(extra)} are not columns of the schema")
        for field in self._heads:
            if field.name in rows.annotations:
                arrays.append(self.head(field, rows.annotations[field.name], ok))
            elif ok.any():
                raise ValueError(f"annotations lack the column '{field.name}'")
            else:
                arrays.append(pa.nulls(n, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _fixed(self, rows: Rows, ok: NDArray[np.bool_]) -> list[pa.Array]:
        records, url = rows.records, rows.shard_url
        n = len(records)
        rejects = [record.reject for record in records]
        if [reject is None for reject in rejects] != ok.tolist():
            raise ValueError("'ok' and the records' 'reject' contradict each other")
        return [
            pa.array([sample_id(url, record.key) for record in records], pa.string()),
            _texts([record.key for record in records]),
            pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), _texts([url])),
            pa.array([record.index for record in records], pa.int64()),
            pa.array([record.offset for record in records], pa.int64()),
            pc.if_else(pa.array(ok), STATUS_OK, STATUS_REJECTED),
            _texts([reject.reason if reject else None for reject in rejects]),
            _texts([reject.message if reject else None for reject in rejects]),
            pa.array([record.width for record in records], pa.int32()),
            pa.array([record.height for record in records], pa.int32()),
            _texts([record.format for record in records]),
            _hex_digests([record.sha256 for record in records]),
            _texts([record.caption for record in records]),
            pa.array([record.metadata for record in records], pa.binary()),
        ]

    def head(self, field: pa.Field, values: ColumnValues, ok: NDArray[np.bool_]) -> pa.Array:
        """One head's column of n rows, null where not ``ok``. Raises ``ValueError`` where they do not fit."""
        kind = field_kind(field)
        length = len(values.counts) if isinstance(values, Labels) else len(values)
        if length != len(ok):
            raise ValueError(f"column '{field.name}' has {length} values for {len(ok)} rows")
        if kind == "labels":
            return self._labels(field, cast("Labels", values), ok)
        if kind == "flag":
            return pa.array(np.asarray(values, dtype=np.bool_), mask=~ok)
        if kind == "score":
            scores = np.asarray(values, dtype=np.float32)
            return pa.array(scores, mask=~ok | np.isnan(scores))
        if kind == "vector":
            return _vectors(field.type, np.asarray(values, dtype=np.float32), ok)
        if kind == "count":
            counts = np.asarray(values, dtype=np.int64)
            return pa.array(counts, mask=~ok | (counts < 0))
        if kind == "text":
            texts = cast("Sequence[str | None]", values)
            return _texts([text if keep else None for text, keep in zip(texts, ok.tolist(), strict=True)])
        build = _entity_lists if kind == "entities" else _string_lists
        lists = cast("Sequence[Sequence[Any]]", values)
        return build(field.type, [row if keep else () for row, keep in zip(lists, ok.tolist(), strict=True)], ok)

    def _labels(self, field: pa.Field, labels: Labels, ok: NDArray[np.bool_]) -> pa.Array:
        counts = np.where(ok, labels.counts, 0)
        if labels.indices.shape != labels.scores.shape or counts.max(initial=0) > labels.indices.shape[1]:
            raise ValueError(
                f"column '{field.name}': counts up to {counts.max(initial=0)} with indices {labels.indices.shape}"
                f" and scores {labels.scores.shape}"
            )
        used = np.arange(labels.indices.shape[1]) < counts[:, None]
        flat, scores = pa.array(labels.indices[used]), labels.scores[used].astype(np.float32, copy=False)
        fields = list(field.type.value_type)
        structs = pa.StructArray.from_arrays(
            [
                self._shared(field.name, "ids", labels.ids).take(flat),
                self._shared(field.name, "names", labels.names).take(flat),
                pa.array(scores, mask=np.isnan(scores)),
            ],
            fields=fields,
        )
        return _lists(field.type, counts, structs, ok)

    def _shared(self, column: str, part: str, names: Sequence[str]) -> pa.Array:
        """The Arrow array of names that all calls share; made once, as a vocabulary may have 100,000 of them."""
        kept = self._names.get((column, part))
        if kept is None or kept[0] is not names:
            kept = self._names[column, part] = (names, _texts(names))
        return kept[1]


def _vectors(type_: pa.DataType, vectors: NDArray[np.float32], ok: NDArray[np.bool_]) -> pa.Array:
    """Vectors [n, D] as fixed-size lists of ``type_``; those of rows that are not ok are lists of nulls."""
    dtype = np.float16 if type_.value_type == pa.float16() else np.float32
    if ok.all():
        values = pa.array(np.ascontiguousarray(vectors, dtype=dtype).reshape(-1))
    else:  # what stands in a rejected row is undefined, and must not reach a cast or the file
        kept = np.where(ok[:, None], vectors, np.float32(0)).astype(dtype)
        values = pa.array(kept.reshape(-1), mask=np.repeat(~ok, type_.list_size))
    return pa.FixedSizeListArray.from_arrays(values, type=type_)


def _texts(texts: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if text is None else valid_text(text) for text in texts], pa.string())


def _hex_digests(digests: Sequence[bytes | None]) -> pa.Array:
    present = np.array([digest is not None for digest in digests], dtype=np.bool_)
    joined = b"".join(digest for digest in digests if digest is not None)
    if len(joined) != 32 * int(present.sum()):
        raise ValueError("a sha256 must be 32 bytes")
    text = _HEX_PAIRS[np.frombuffer(joined, np.uint8)].tobytes()
    offsets = np.concatenate([[0], np.cumsum(present * 64)]).astype(np.int32)
    packed = pa.array(present).buffers()[1]
    return pa.StringArray.from_buffers(len(digests), pa.py_buffer(offsets), pa.py_buffer(text), packed)


def _lists(type_: pa.DataType, counts: NDArray[Any], values: pa.Array, ok: NDArray[np.bool_]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=type_, mask=pa.array(~ok))


def _counts(rows: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
    return np.fromiter(map(len, rows), np.int64, len(rows))


def _string_lists(type_: pa.DataType, rows: Sequence[Sequence[str]], ok: NDArray[np.bool_]) -> pa.Array:
    return _lists(type_, _counts(rows), _texts(list(chain.from_iterable(rows))), ok)


def _entity_lists(type_: pa.DataType, rows: Sequence[Sequence[EntityTag]], ok: NDArray[np.bool_]) -> pa.Array:
    tags = list(chain.from_iterable(rows))
    scores = np.fromiter((tag.score for tag in tags), np.float32, len(tags))
    fields = list(type_.value_type)
    columns: list[Callable[[EntityTag], str]] = [
        lambda tag: tag.entity_id,
        lambda tag: tag.name,
        lambda tag: tag.mention,
        lambda tag: tag.source,
    ]
    arrays = [_texts([get(tag) for tag in tags]) for get in columns]
    structs = pa.StructArray.from_arrays([*arrays, pa.array(scores, mask=np.isnan(scores))], fields=fields)
    return _lists(type_, _counts(rows), structs, ok)
