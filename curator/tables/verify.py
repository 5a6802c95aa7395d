"""Owns what must hold of a finished part, as a list of problems in words. Repairs nothing and knows no ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.data import sample_id
from curator.errors import NotFoundError
from curator.storage.base import Storage
from curator.tables.readers import Part, PartError, open_part, vectors, way_out
from curator.tables.schema import EMBEDDING, NULLABLE_KINDS, STATUS_OK, STATUS_REJECTED, columns_of_kind, field_kind

# Rounding 1,000 numbers to float16 moves the norm by at most 2**-11.
_NORM_TOLERANCE = 1e-3
_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


def verify_part(
    url: str,
    storage: Storage,
    *,
    schema: pa.Schema | None = None,
    rows: int | None = None,
    shard_url: str | None = None,
) -> list[str]:
    """Everything that is wrong with the part at ``url``, a sentence each; empty where nothing is.

    ``schema``, ``rows`` (of the receipt) and ``shard_url`` are compared where given. Reads the whole part, in memory
    for one row group. Faults of the storage that say nothing about the part (``RetryableError``, ``ForbiddenError``)
    are raised.
    """
    try:
        with open_part(url, storage) as part:
            problems = list(_against(part, schema, rows))
            # The columns below need not exist in a part of another schema.
            return problems or list(_contents(part, shard_url))
    except NotFoundError:
        return [f"{url}: is missing"]
    except PartError as error:
        return [str(error).removesuffix(f"; {way_out(url)}")]


def _against(part: Part, schema: pa.Schema | None, rows: int | None) -> Iterator[str]:
    if schema is not None and not part.schema.equals(schema):
        for name in dict.fromkeys([*schema.names, *part.schema.names]):
            expected, found = (_type(s, name) for s in (schema, part.schema))
            if found != expected:
                yield f"{part.url}: column '{name}' is {found}, where the run's schema has {expected}"
        if schema.names != part.schema.names and set(schema.names) == set(part.schema.names):
            yield f"{part.url}: columns stand in another order than in the schema"
    if rows is not None and part.rows != rows:
        yield f"{part.url}: has {part.rows} rows, its receipt says {rows}"


def _type(schema: pa.Schema, name: str) -> str:
    if name not in schema.names:
        return "absent"
    field = schema.field(name)
    return f"{field.type}{'' if field.nullable else ' not null'}"


def _contents(part: Part, shard_url: str | None) -> Iterator[str]:
    """The problems inside the rows, each kind once, with how many rows have it and the first of them."""
    found: dict[str, tuple[int, int]] = {}
    start = 0
    for batch in part.batches():
        shard_url = batch.column("shard")[0].as_py() if shard_url is None else shard_url
        for problem, bad in _checks(batch, start, shard_url):
            where = np.flatnonzero(bad)
            if len(where):
                count, first = found.get(problem, (0, start + int(where[0])))
                found[problem] = (count + len(where), first)
        start += batch.num_rows
    for problem, (count, first) in found.items():
        yield f"{part.url}: {problem} in {count} of {part.rows} rows, first in row {first}"


def _checks(batch: pa.RecordBatch, start: int, shard_url: str) -> Iterator[tuple[str, np.ndarray]]:
    ok = _numpy(pc.equal(batch.column("status"), STATUS_OK))
    rejected = _numpy(pc.equal(batch.column("status"), STATUS_REJECTED))
    null = {field.name: _numpy(batch.column(field.name).is_null()) for field in batch.schema}
    embeddings = {name: vectors(batch, name).astype(np.float32) for name in _vector_columns(batch.schema)}
    for name, values in embeddings.items():
        null[name] |= np.isnan(values).all(axis=1)
    yield "status is neither 'ok' nor 'rejected'", ~(ok | rejected)
    yield "index is not the row's number", batch.column("index").to_numpy() != np.arange(start, start + batch.num_rows)
    shard = batch.column("shard").cast(pa.string())
    yield f"shard is not {shard_url}", ~_numpy(pc.equal(shard, shard_url))
    yield "sample_id is not the digest of shard and key", _foreign_ids(batch, shard_url)
    for name in ("reason", "message"):
        yield f"{name} is missing where rejected", rejected & null[name]
        yield f"{name} is given where ok", ok & ~null[name]
    for name, values in embeddings.items():
        norms = np.sqrt(np.einsum("nd,nd->n", values, values))
        far = ~(np.abs(norms - 1) <= _NORM_TOLERANCE)  # so that NaN is far
        yield f"{name} is not of unit norm", far & ~null[name]
    heads = [field for field in batch.schema if field.name == EMBEDDING or field_kind(field)]
    for field in heads:
        yield f"{field.name} is given where rejected", rejected & ~null[field.name]
        if field_kind(field) not in NULLABLE_KINDS:
            yield f"{field.name} is missing where ok", ok & null[field.name]


def _vector_columns(schema: pa.Schema) -> list[str]:
    return [EMBEDDING, *columns_of_kind(schema, "vector")]


def _numpy(flags: pa.Array) -> np.ndarray:
    return np.asarray(flags.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _foreign_ids(batch: pa.RecordBatch, shard_url: str) -> np.ndarray:
    pairs = zip(batch.column("sample_id").to_pylist(), batch.column("key").to_pylist(), strict=True)
    return np.array([not _belongs(identity, shard_url, key) for identity, key in pairs], dtype=np.bool_)


def _belongs(identity: str, shard_url: str, key: str) -> bool:
    if identity == sample_id(shard_url, key):
        return True
    # The id was taken of the key's own bytes, the column shows those that are not UTF-8 as \xNN.
    raw = _ESCAPED_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), key)
    return raw != key and identity == sample_id(shard_url, raw)
