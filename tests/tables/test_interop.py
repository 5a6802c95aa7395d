"""The readers that users have all see the same values: pyarrow, pandas, DuckDB, Polars and HF datasets."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from curator.storage import LocalStorage
from curator.tables.readers import part_url
from curator.tables.schema import build_schema
from tests.tables.rows import COLUMNS, DIM, SCHEMA, expected, make_rows, write_part

Table = list[dict[str, Any]]


def _pyarrow(path: Path) -> Table:
    return pq.read_table(path).to_pylist()


def _pandas(path: Path) -> Table:
    return pd.read_parquet(path).to_dict("records")


def _duckdb(path: Path) -> Table:
    with duckdb.connect() as connection:
        result = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _polars(path: Path) -> Table:
    return pl.read_parquet(path).to_dicts()


def _datasets(path: Path) -> Table:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return datasets.Dataset.from_parquet(str(path), cache_dir=str(path.parent / "cache")).to_list()


READERS = [_pyarrow, _pandas, _duckdb, _polars, _datasets]


def _plain(value: Any) -> Any:
    """Readers' own containers and missing values as Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a reader of local files asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("read", READERS)
def test_part_reads_the_same(tmp_path: Path, read: Callable[[Path], Table], dtype: type[np.floating[Any]]) -> None:
    rows = make_rows(0, 23, rejects=(0, 7, 22))
    path = tmp_path / "part.parquet"
    write_part(LocalStorage(), str(path), rows, schema=build_schema(DIM, np.dtype(dtype).name, COLUMNS))
    assert _plain(read(path)) == expected(rows, dtype)


@pytest.mark.parametrize("read", [_pyarrow, _pandas, _duckdb, _polars])  # datasets refuses to load no rows at all
def test_part_without_rows_reads(tmp_path: Path, read: Callable[[Path], Table]) -> None:
    path = tmp_path / "part.parquet"
    write_part(LocalStorage(), str(path), make_rows(0, 0))
    assert read(path) == []


@pytest.mark.parametrize("read", READERS)
def test_part_of_rejects_alone_keeps_its_types(tmp_path: Path, read: Callable[[Path], Table]) -> None:
    rows = make_rows(0, 3, rejects=range(3))
    path = tmp_path / "part.parquet"
    write_part(LocalStorage(), str(path), rows)
    assert _plain(read(path)) == expected(rows)


PORTIONS = {
    "a": make_rows(0, 5),
    "b": make_rows(0, 0),
    "c": make_rows(0, 3, rejects=range(3)),
    "d": make_rows(0, 9),
}
EVERYTHING = [row for rows in PORTIONS.values() for row in expected(rows)]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output as a run leaves it: parts (one empty, one of rejects alone) and a ledger."""
    root = tmp_path_factory.mktemp("run") / "out"
    for name, rows in PORTIONS.items():
        write_part(LocalStorage(), part_url(str(root), name), rows)
    (root / "_ledger" / "receipts").mkdir(parents=True)
    (root / "_ledger" / "run.json").write_text("{}")
    (root / "_ledger" / "receipts" / "a.json").write_text("{}")
    return root


def test_output_is_one_dataset_to_pyarrow_and_pandas(output: Path) -> None:
    found = pyarrow.dataset.dataset(output)
    assert found.schema.equals(SCHEMA)
    assert found.to_table().to_pylist() == EVERYTHING
    assert _plain(_pandas(output)) == EVERYTHING


def test_output_is_one_dataset_to_globs(output: Path) -> None:
    pattern = output / "part-*.parquet"
    assert _plain(_duckdb(pattern)) == EVERYTHING
    assert _plain(pl.scan_parquet(pattern).collect().to_dicts()) == EVERYTHING
    assert _plain(_datasets(pattern)) == EVERYTHING


def test_readers_know_the_fixed_size_of_the_embedding(output: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = str(output / "part-a.parquet")
    assert pl.read_parquet_schema(path)["embedding"] == pl.Array(pl.Float16, DIM)
    features = datasets.Dataset.from_parquet(path, cache_dir=str(output.parent / "cache")).features
    assert features["embedding"] == datasets.List(datasets.Value("float16"), length=DIM)


def test_sql_reaches_labels_and_metadata(output: Path) -> None:
    query = """
        SELECT things[1].label AS label, count(*) AS n FROM read_parquet(?) WHERE len(things) > 0 GROUP BY 1 ORDER BY 1
    """
    wanted: dict[str, int] = {}
    for row in EVERYTHING:
        if row["things"]:
            wanted[row["things"][0]["label"]] = wanted.get(row["things"][0]["label"], 0) + 1
    with duckdb.connect() as connection:
        files = str(output / "part-*.parquet")
        assert dict(connection.execute(query, [files]).fetchall()) == wanted
        first = "SELECT decode(metadata)::JSON->>'a' FROM read_parquet(?) WHERE key = 'sample/00000' LIMIT 1"
        assert connection.execute(first, [files]).fetchall() == [("1",)]
