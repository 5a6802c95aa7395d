"""The Parquet contract. To change it, raise SCHEMA_VERSION and run ``python -m tests.tables.test_schema``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from curator.data import ColumnSpec
from curator.errors import ConfigError
from curator.tables.schema import FIXED_COLUMNS, SCHEMA_VERSION, build_schema, columns_of_kind, describe
from tests.tables.rows import COLUMNS, SCHEMA

GOLDEN = Path(__file__).with_name("schema.golden.json")


def _contract() -> dict[str, object]:
    return {"schema_version": SCHEMA_VERSION, "columns": [asdict(row) for row in describe(SCHEMA)]}


def test_schema_is_the_golden_one() -> None:
    assert _contract() == json.loads(GOLDEN.read_text()), (
        "the Parquet contract changed: raise SCHEMA_VERSION and run python -m tests.tables.test_schema"
    )


def test_fixed_columns_come_first_and_heads_in_their_order() -> None:
    assert SCHEMA.names == [*FIXED_COLUMNS, *(column.name for column in COLUMNS)]


def test_every_column_is_described() -> None:
    assert all(row.description for row in describe(SCHEMA))


def test_embedding_has_the_asked_size_and_dtype() -> None:
    assert str(build_schema(512, "float32", ()).field("embedding").type) == "fixed_size_list<element: float>[512]"
    assert str(build_schema(3, "float16", ()).field("embedding").type) == "fixed_size_list<element: halffloat>[3]"


def test_columns_of_kind_finds_the_label_sets() -> None:
    assert columns_of_kind(SCHEMA, "labels") == ["things"]
    assert columns_of_kind(SCHEMA, "flag") == ["things_abstained"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["key"], "'key' is taken by a fixed column"),
        (["Caption"], "'Caption' is taken by a fixed column"),
        (["embedding"], "'embedding' is taken by a fixed column"),
        (["food", "FOOD"], "'FOOD' is taken by the labels column 'food'"),
        (["a.b"], "'a.b' cannot be used"),
        ([""], "'' cannot be used"),
    ],
)
def test_names_that_clash_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_schema(4, "float16", [ColumnSpec(name, "labels", "d") for name in names])


@pytest.mark.parametrize(("dim", "dtype"), [(4, "float64"), (0, "float16")])
def test_impossible_embeddings_are_refused(dim: int, dtype: str) -> None:
    with pytest.raises(ConfigError, match="embedding"):
        build_schema(dim, dtype, ())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(_contract(), indent=2) + "\n")
