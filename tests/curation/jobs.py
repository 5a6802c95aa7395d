"""Small relabelling jobs for tests: a finished run of the tiny encoder, a config over it, and its rows read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset

from curator.config import Config
from curator.curation.relabel import plan_relabel, relabel, wire_relabel
from curator.engine.backends.local import LocalFleet
from curator.engine.progress import Summary
from curator.engine.run import label
from curator.storage import Storage
from tests.run.jobs import job_config, local_fleet, open_encoder, write_shards

KINDS = ["bird", "fish", "red", "blue"]


def make_source(folder: Path, encoder: Path, **changes: Any) -> Config:
    write_shards(folder / "shards", 3, samples=8)
    config = job_config(folder / "shards", encoder, folder / "source")
    config = Config.model_validate({**config.model_dump(), **changes})
    assert label(config, fleet=local_fleet(config)).status == "complete"
    return config


def relabel_config(source: Config, output: Path, *label_sets: dict[str, Any], **run: Any) -> Config:
    vocabulary = Path(source.output.url).parent / "kinds.txt"
    vocabulary.write_text("\n".join(KINDS) + "\n")
    return Config.model_validate(
        {
            "input": {"run": source.output.url},
            "output": {"url": str(output)},
            "encoder": {"cache_dir": source.encoder.cache_dir},
            "labels": label_sets or [{"name": "kinds", "vocabulary": str(vocabulary), "top_k": 2}],
            "run": {**source.run.model_dump(), **run},
        }
    )


def run(config: Config, storage: Storage | None = None, **options: Any) -> Summary:
    plan, plan_storage = plan_relabel(config, storage)
    encoder = open_encoder(plan.config.encoder.name)
    fleet = LocalFleet(lambda: wire_relabel(plan, encoder, plan_storage), in_flight=config.run.in_flight)
    return relabel(config, fleet=fleet, storage=storage, **options)


def table(output: str | Path) -> pa.Table:
    return pyarrow.dataset.dataset(str(output), format="parquet").to_table()


def scores(found: pa.Table) -> list[float]:
    return [label["score"] for row in found["labels"].to_pylist() for label in row or ()]
