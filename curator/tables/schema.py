"""Owns THE Arrow schema of a part: every column's name, type and description. Knows no file, storage or sample."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from curator.data import ColumnSpec
from curator.errors import ConfigError

SCHEMA_VERSION: Final = 1
"""Raised whenever a fixed column or the type of a kind changes; ``tests/tables/schema.golden.json`` holds it still."""

FOOTER_PREFIX: Final = "curator."
VERSION_KEY: Final = f"{FOOTER_PREFIX}schema_version"

# The Parquet specification's word for the child of a list; Arrow's own default would differ from what is read back.
_ELEMENT: Final = "element"


def _list_of(*fields: tuple[str, pa.DataType]) -> pa.DataType:
    return pa.list_(pa.field(_ELEMENT, pa.struct([pa.field(name, type_) for name, type_ in fields])))


KIND_TYPES: Final[dict[str, pa.DataType]] = {
    "labels": _list_of(("label_id", pa.string()), ("label", pa.string()), ("score", pa.float32())),
    "flag": pa.bool_(),
    "score": pa.float32(),
    "count": pa.int64(),
    "text": pa.string(),
    "entities": _list_of(
        ("entity_id", pa.string()),
        ("name", pa.string()),
        ("mention", pa.string()),
        ("source", pa.string()),
        ("score", pa.float32()),
    ),
    "strings": pa.list_(pa.field(_ELEMENT, pa.string())),
}

NULLABLE_KINDS: Final = frozenset({"score", "count", "text"})
"""Kinds whose value may be missing in a row that is ok; of the others every such row has one, if only an empty list."""

_EMBEDDING_TYPES: Final[dict[str, pa.DataType]] = {"float16": pa.float16(), "float32": pa.float32()}

# name, type, may be null, description
_FIXED: Final[tuple[tuple[str, pa.DataType, bool, str], ...]] = (
    (
        "sample_id",
        pa.string(),
        False,
        "Identity of the sample: first 32 hex digits of the SHA-256 of shard url, line feed, key",
    ),
    (
        "key",
        pa.string(),
        False,
        "Key of the sample in its tar, as it was; bytes that are not UTF-8 are written as \\xNN",
    ),
    ("shard", pa.dictionary(pa.int32(), pa.string()), False, "Url of the shard that the sample came from"),
    ("index", pa.int64(), False, "Position of the sample in its shard, from 0"),
    ("offset", pa.int64(), False, "Byte offset of the image's content in the (decompressed) tar"),
    ("status", pa.string(), False, "'ok' or 'rejected'"),
    ("reason", pa.string(), True, "Why the sample was rejected, as a word to group by; null when ok"),
    ("message", pa.string(), True, "Why the sample was rejected, in particular; null when ok"),
    ("width", pa.int32(), True, "Width of the image as stored, in pixels; null when it could not be read"),
    ("height", pa.int32(), True, "Height of the image as stored, in pixels; null when it could not be read"),
    ("format", pa.string(), True, "Format of the image as decoded (JPEG, PNG, ...); null when it could not be read"),
    ("sha256", pa.string(), True, "SHA-256 of the image's bytes, 64 hex digits; null when there is no image"),
    ("caption", pa.string(), True, "Caption of the sample; bytes that are not UTF-8 are written as \\xNN"),
    ("metadata", pa.binary(), True, "The sample's json member, byte for byte (in DuckDB: decode(metadata)::JSON)"),
)

STATUS_OK: Final = "ok"
STATUS_REJECTED: Final = "rejected"
EMBEDDING: Final = "embedding"
FIXED_COLUMNS: Final = (*(name for name, _, _, _ in _FIXED), EMBEDDING)


@dataclass(frozen=True, slots=True)
class ColumnDescription:
    """One line of ``curator schema``. ``type`` is Arrow's name of the type; ``kind`` is '' for a fixed column."""

    name: str
    type: str
    nullable: bool
    kind: str
    description: str


def _field(name: str, type_: pa.DataType, nullable: bool, description: str, kind: str = "") -> pa.Field:
    metadata = {"description": description} | ({"kind": kind} if kind else {})
    return pa.field(name, type_, nullable=nullable, metadata=metadata)


def build_schema(dim: int, embedding_dtype: str, columns: Sequence[ColumnSpec]) -> pa.Schema:
    """The schema of every part of a run: the fixed columns, the embedding ``[dim]``, then the heads' columns in order.

    ``embedding_dtype`` is ``float16`` or ``float32``. A rejected sample has null in the heads' columns and a list of
    ``dim`` nulls for its embedding, since pyarrow up to 25 neither writes nor reads a fixed-size list that is null.
    Raises ``ConfigError`` on an unknown dtype and on column names that clash (case does not tell names apart, since
    SQL engines would not).
    """
    if embedding_dtype not in _EMBEDDING_TYPES:
        raise ConfigError(f"embedding dtype '{embedding_dtype}' is not known; choose float16 or float32")
    if dim < 1:
        raise ConfigError(f"embedding dimension {dim} is not positive; the encoder must give at least one number")
    _refuse_clashes(columns)
    embedding = pa.list_(pa.field(_ELEMENT, _EMBEDDING_TYPES[embedding_dtype]), dim)
    fields = [_field(*fixed) for fixed in _FIXED]
    fields.append(
        _field(EMBEDDING, embedding, True, "Image embedding of unit norm; all its numbers null when rejected")
    )
    for column in columns:
        vector = pa.list_(embedding.value_field, column.size or dim)
        type_ = vector if column.kind == "vector" else KIND_TYPES[column.kind]
        fields.append(_field(column.name, type_, True, column.description, column.kind))
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION)})


def change_columns(schema: pa.Schema, dropped: Collection[str], columns: Sequence[ColumnSpec]) -> pa.Schema:
    """A part's schema without the heads' columns ``dropped``, and with ``columns`` after those that are left.

    Raises ``ConfigError`` where a new column has the name of one that stays.
    """
    kept = [field for field in schema if field.name not in dropped or not field_kind(field)]
    _refuse_clashes(columns, {field.name.lower(): "a column of the source" for field in kept if field_kind(field)})
    added = [_field(c.name, KIND_TYPES[c.kind], True, c.description, c.kind) for c in columns]
    return pa.schema([*kept, *added], metadata=schema.metadata)


def _refuse_clashes(columns: Sequence[ColumnSpec], others: Mapping[str, str] = MappingProxyType({})) -> None:
    taken = {name: "a fixed column" for name in FIXED_COLUMNS} | dict(others)
    for column in columns:
        folded = column.name.lower()
        if not column.name.isidentifier():
            raise ConfigError(
                f"column name '{column.name}' cannot be used; take letters, digits and '_', not beginning with a digit"
            )
        if folded in taken:
            raise ConfigError(f"column name '{column.name}' is taken by {taken[folded]}; rename the label set or score")
        taken[folded] = f"the {column.kind} column '{column.name}'"


def _note(field: pa.Field, name: str) -> str:
    note: bytes = (field.metadata or {}).get(name.encode(), b"")
    return note.decode()


def field_kind(field: pa.Field) -> str:
    """The ``ColumnSpec.kind`` that a field was built from; '' for a fixed column."""
    return _note(field, "kind")


def columns_of_kind(schema: pa.Schema, kind: str) -> list[str]:
    """Names of the heads' columns of one kind, in order."""
    return [field.name for field in schema if field_kind(field) == kind]


def describe(schema: pa.Schema) -> list[ColumnDescription]:
    """What ``curator schema`` prints, a row per column in order."""
    return [
        ColumnDescription(
            field.name,
            str(field.type),
            field.nullable,
            field_kind(field),
            _note(field, "description"),
        )
        for field in schema
    ]
