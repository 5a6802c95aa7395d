"""Small main jobs for tests: shards with good and bad samples, a config over the tiny encoder, and their rows read."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import torch

from curator.config import Config
from curator.encoder import Encoder
from curator.engine.backends.local import LocalFleet
from curator.engine.compose import plan_worker, storage_of, wire_worker
from curator.storage import Storage
from curator.tables.readers import parts
from tests.builders import make_samples, write_tar

LABELS = ["dog", "cat", "house", "tree", "a red circle", "sky"]


@dataclass(frozen=True)
class Row:
    """What must be equal between two runs, whatever the batches were. ``shard`` is the name without its place."""

    shard: str
    key: str
    index: int
    status: str
    reason: str | None
    sha256: Any
    labels: tuple[str, ...]
    embedding: np.ndarray | None


def write_shards(folder: Path, count: int, samples: int = 12) -> list[Path]:
    """Shards of ``samples`` samples each, among them in every shard a truncated image and a sample without one."""
    paths = []
    for number in range(count):
        made = make_samples(samples, seed=1000 * number)
        extension = next(iter(made[3][1]))
        made[3][1][extension] = made[3][1][extension][:-200]
        made[5] = (made[5][0], {"txt": b"no image here"})
        paths.append(write_tar(folder / f"{number:04d}.tar", made))
    return paths


def job_config(folder: Path, encoder: Path, output: str | Path, **run: Any) -> Config:
    """A config over ``folder``'s shards with one label set, quick to back off and to notice."""
    vocabulary = folder.parent / "labels.txt"
    vocabulary.write_text("\n".join(LABELS) + "\n")
    return Config.model_validate(
        {
            "input": {"urls": [str(folder)]},
            "output": {"url": str(output), "embedding_dtype": "float32"},
            "encoder": {
                "name": f"local-dir:{encoder}",
                "precision": "float32",
                "batch_size": 8,
                "cache_dir": str(folder.parent / "cache"),
            },
            "decode": {"workers": "threads", "threads": 2},
            "labels": [{"vocabulary": str(vocabulary), "top_k": 3}],
            "run": {"backoff_s": 0.05, "reject_budget": 0.5, "heartbeat_s": 0.2, "grace_s": 5.0, **run},
        }
    )


@functools.cache
def open_encoder(name: str) -> Encoder:
    torch.set_num_threads(1)
    return Encoder.open(name, precision="float32")


def local_fleet(config: Config, storage: Storage | None = None) -> LocalFleet:
    """The local backend around an encoder that all tests of the process share."""
    plan = plan_worker(config)
    encoder = open_encoder(config.encoder.name)
    return LocalFleet(lambda: wire_worker(plan, encoder, storage or storage_of(config)), in_flight=config.run.in_flight)


def read_rows(output: str | Path) -> dict[str, Row]:
    """sample_id -> Row of a local output."""
    table = pyarrow.dataset.dataset(str(output), format="parquet").to_table()
    rows = {}
    for row in table.to_pylist():
        embedding = None if row["embedding"][0] is None else np.asarray(row["embedding"], np.float32)
        labels = tuple(label["label"] for label in row["labels"] or ())
        rows[row["sample_id"]] = Row(
            row["shard"].rsplit("/", 1)[-1],
            row["key"],
            row["index"],
            row["status"],
            row["reason"],
            row["sha256"],
            labels,
            embedding,
        )
    assert len(rows) == table.num_rows, "a sample id occurs twice"
    return rows


def by_name(rows: dict[str, Row]) -> dict[tuple[str, str], Row]:
    """(shard, key) -> Row: comparable between inputs that lie in different places."""
    return {(row.shard, row.key): row for row in rows.values()}


def fetch_rows(output: str, storage: Storage, folder: Path) -> dict[str, Row]:
    """``read_rows`` of an output anywhere, by way of ``folder``."""
    folder.mkdir()
    for entry in parts(output, storage):
        (folder / entry.url.rsplit("/", 1)[-1]).write_bytes(storage.read(entry.url))
    return read_rows(folder)


def assert_same_rows(found: dict[Any, Row], expected: dict[Any, Row]) -> None:
    """Row for row the same; embeddings to the rounding that another batch composition brings."""
    assert found.keys() == expected.keys()
    for identity, row in expected.items():
        other = found[identity]
        assert (other.shard, other.key, other.index, other.status, other.reason, other.sha256, other.labels) == (
            row.shard, row.key, row.index, row.status, row.reason, row.sha256, row.labels,
        )  # fmt: skip
        assert (other.embedding is None) == (row.embedding is None)
        if row.embedding is not None:
            np.testing.assert_allclose(other.embedding, row.embedding, atol=2e-5)
