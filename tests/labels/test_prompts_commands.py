"""The prompts commands on a run of the tiny encoder, and every head in one job from its files to its columns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.config import Config
from curator.engine.compose import plan_worker
from curator.engine.run import label
from curator.errors import ConfigError
from curator.storage import open_storage
from curator.tables.sample import sample_vectors
from tests.run.jobs import LABELS, job_config, write_shards

FACTORS = {"place": {"land": ["on land"], "water": ["on water"]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Config:
    """A finished run over two shards, beside which files may be written."""
    folder = tmp_path_factory.mktemp("prompts") / "shards"
    folder.mkdir()
    write_shards(folder, 2)
    config = job_config(folder, tiny_encoder_dir, folder.parent / "out")
    assert label(config).exit_status == 0
    return config


def test_a_sample_is_of_ok_rows_and_the_same_twice(run: Config) -> None:
    every = sample_vectors(run.output.url, open_storage(), 1000)
    assert every.shape == (20, 32)
    assert np.isfinite(every).all()
    some = sample_vectors(run.output.url, open_storage(), 7)
    assert some.shape == (7, 32)
    assert np.array_equal(some, sample_vectors(run.output.url, open_storage(), 7))
    assert all((row == every).all(axis=1).any() for row in some)


def test_weights_are_made_from_a_run_and_used_by_the_next(run: Config, tmp_path: Path) -> None:
    out = tmp_path / "weights.json"
    command = ["prompts", "weigh", run.output.url, "--vocabulary", run.labels[0].vocabulary, "--out", str(out)]
    made = CliRunner().invoke(app, [*command, "--templates", "simple", "--sample", "15", "--reference", run.output.url])
    assert made.exit_code == 0, made.output
    weights = json.loads(out.read_text())
    assert (len(weights["weights"]), weights["images"], weights["reference_images"]) == (7, 15, 15)
    assert sum(weights["weights"].values()) == pytest.approx(1.0, abs=1e-5)
    again = CliRunner().invoke(app, [*command, "--combine", "mean"])
    assert isinstance(again.exception, ConfigError)


def test_embeddings_of_another_encoder_are_refused(run: Config, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run.output.url, other)
    record = json.loads((other / "_ledger" / "run.json").read_text())
    record["digests"]["encoder_digest"] = "0" * 64
    (other / "_ledger" / "run.json").write_text(json.dumps(record))
    given = ["--vocabulary", run.labels[0].vocabulary, "--templates", "simple", "--out", str(tmp_path / "weights.json")]
    for outputs, message in (
        ((str(other),), "its embeddings were made by an encoder with the digest 000"),
        ((run.output.url, "--reference", str(other)), "was made by another encoder"),
    ):
        refused = CliRunner().invoke(app, ["prompts", "weigh", *outputs, *given])
        assert isinstance(refused.exception, ConfigError)
        assert message in str(refused.exception)


def test_every_head_runs_in_one_job(run: Config, tmp_path: Path) -> None:
    texts = {name: [f"a {name} thing", f"has {name}"] for name in LABELS}
    for name, content in (
        ("texts.json", texts),
        ("weights.json", {"weights": {"a photo of a {}.": 1.0}}),
        ("pairs.json", {f"{LABELS[0]}||{LABELS[1]}": {LABELS[0]: ["one"], LABELS[1]: ["other"]}}),
        ("means.json", {"prototypes": {name.replace(" ", "_"): [0.1] * 32 for name in LABELS}}),
        ("tree.json", dict.fromkeys(LABELS, "thing")),
        ("factors.json", FACTORS),
        ("spurious.json", {"spurious": [["on land", "on water"]]}),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    options: dict[str, dict[str, Any]] = {
        "zpe": {"weights": "weights.json"},
        "autoclip": {"evidence": 1},
        "cupl": {"descriptions": "texts.json"},
        "dclip": {"descriptions": "texts.json"},
        "waffle": {"pairs": 2},
        "fudd": {"differences": "pairs.json"},
        "disclip": {"descriptions": "texts.json", "prototypes": "means.json"},
        "chils": {"children": "texts.json"},
        "tree": {"tree": "tree.json", "sums": True},
        "smooth": {"tree": "tree.json"},
        "relatives": {"tree": "tree.json"},
        "loki": {"tree": "tree.json", "metric": "tree"},
        "perceptionclip": {"factors": "factors.json"},
        "ideal_words": {"factors": "factors.json"},
        "roboshot": {"pairs": "spurious.json"},
    }
    label_sets = [
        {
            "name": head,
            "head": head,
            "vocabulary": run.labels[0].vocabulary,
            "options": {
                key: str(tmp_path / value) if str(value).endswith(".json") else value for key, value in own.items()
            },
        }
        for head, own in options.items()
    ]
    settings = {**run.model_dump(), "labels": label_sets, "output": {"url": str(tmp_path / "out")}}
    config = Config.model_validate(settings)
    assert label(config).exit_status == 0
    table = pq.read_table(tmp_path / "out").to_pylist()
    done = [row for row in table if row["status"] == "ok"]
    assert len(done) == 20
    for row in done:
        assert all(row[head] for head in options), "every head has labels for every image"
        assert row["tree_path"] == ["thing"]
        assert row["tree_ancestors"][0]["score"] == pytest.approx(1.0, abs=1e-4)
        assert len(row["dclip_evidence"]) == 2
        assert {each["label"] for each in row["perceptionclip_place"]} == {"land", "water"}
        assert row["loki_loki"]
        assert row["fudd_first"]
        assert row["chils_sub"]

    before = plan_worker(config).config_digest
    (tmp_path / "spurious.json").write_text(json.dumps({"spurious": [["on land", "in the air"]]}))
    assert plan_worker(config).config_digest != before
