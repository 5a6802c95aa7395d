"""Scores in whole runs: labelled from images, labelled again from embeddings, and balanced in a second pass."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from curator.config import Config
from curator.curation.concepts import Request, concept_frequencies
from curator.curation.counting import plan_count
from curator.curation.counts import Counting
from curator.engine.maintain import verify_output
from curator.engine.run import label
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.curation.jobs import run, table
from tests.run.jobs import job_config, local_fleet, open_encoder, write_shards


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> tuple[Config, Path]:
    """Two shards of ten samples with every score that needs no file, and MetaCLIP's entries."""
    folder = tmp_path_factory.mktemp("scores")
    write_shards(folder / "shards", 2, samples=10)
    (folder / "entries.txt").write_text("picture\nseed\nof seed\n1\n5\n1000\nabsent\n")
    config = job_config(folder / "shards", tiny_encoder_dir, folder / "source")
    scores = [
        {"name": "clip_score", "method": "clip_score", "options": {"thresholds": {"other": 0.0}}},
        {"name": "caption", "method": "caption_stats"},
        {"name": "image", "method": "image_shape"},
        {"name": "pixels", "method": "image_stats"},
        {"name": "entries", "method": "metaclip", "options": {"metadata": str(folder / "entries.txt")}},
        {"name": "synsets", "method": "catlip"},
        {"name": "wrong", "method": "misalignment"},
    ]
    config = Config.model_validate({**config.model_dump(), "scores": scores})
    assert label(config, fleet=local_fleet(config)).status == "complete"
    return config, folder


def scored_again(source: Config, output: Path, *scores: dict[str, object]) -> Config:
    return Config.model_validate(
        {
            "input": {"run": source.output.url},
            "output": {"url": str(output)},
            "encoder": {"cache_dir": source.encoder.cache_dir},
            "scores": scores,
            "run": source.run.model_dump(),
        }
    )


def test_every_row_has_its_scores(labelled: tuple[Config, Path]) -> None:
    config, folder = labelled
    rows = table(folder / "source").to_pylist()
    assert not any(problems for _, problems in verify_output(config.output.url, open_storage()))
    encoder = open_encoder(config.encoder.name)
    ok = [row for row in rows if row["status"] == "ok"]
    assert len(rows) == 20 > len(ok) > 10
    for row in rows:
        if row["status"] != "ok":
            assert row["clip_score"] is row["entries"] is row["caption_words"] is row["synsets"] is None
            continue
        cosine = float(np.dot(row["embedding"], encoder.embed_text([row["caption"]])[0].numpy()))
        assert row["clip_score"] == pytest.approx(cosine, abs=1e-5)
        assert row["clip_score_kept"] == (cosine >= 0)
        assert (row["caption_chars"], row["caption_words"]) == (len(row["caption"]), len(row["caption"].split()))
        assert row["image_pixels"] == row["width"] * row["height"]
        assert row["image_aspect"] == pytest.approx(64 / 48)
        assert row["pixels_blur"] > 0 < row["pixels_entropy"] <= 8
        words = f" {row['caption']} "
        expected = ["picture", "seed", "of seed", "1", "5", "1000", "absent"]
        assert row["entries"] == [entry for entry in expected if f" {entry} " in words]
        assert [each["label"] for each in row["synsets"]] == ["picture", "seed"]
        assert all(each["score"] is None for each in row["synsets"])
        assert all(each["score"] < 0 for each in row["wrong"])


def test_again_from_embeddings_with_the_counts_of_the_first_pass(labelled: tuple[Config, Path], tmp_path: Path) -> None:
    config, folder = labelled
    request = Request(columns=("entries", "synsets"), t=3)
    counts = concept_frequencies(
        Config.model_validate({"input": {"run": config.output.url}, "output": {"url": str(tmp_path / "counts")}}),
        request,
    )
    ok = [row for row in table(folder / "source").to_pylist() if row["status"] == "ok"]
    assert counts.entries["entries"].to_pylist()[0]["n"] == len(ok)
    metadata = {
        "metadata": str(folder / "entries.txt"),
        "counts": str(tmp_path / "counts" / "entries-entries.json"),
        "t": 3,
    }
    vocabulary = {"vocabulary": str(tmp_path / "counts" / "entries-synsets.json"), "vocabulary_size": 1}
    again = scored_again(
        config,
        tmp_path / "out",
        {"name": "entries", "method": "metaclip", "options": metadata},
        {"name": "synsets", "method": "catlip", "options": vocabulary},
    )
    assert run(again).status == "complete"
    n = {row["entry_id"]: row["n"] for row in counts.entries["entries"].to_pylist()}
    for row in table(tmp_path / "out").to_pylist():
        if row["status"] == "ok":
            expected = 1 - np.prod([1 - 3 / max(n[entry], 3) for entry in row["entries"]])
            assert row["entries_probability"] == pytest.approx(expected, abs=1e-6)
            assert len(row["synsets"]) == 1
            assert row["clip_score"] is not None, "scores of other names are kept"


def test_what_needs_pixels_is_refused_without_images(labelled: tuple[Config, Path], tmp_path: Path) -> None:
    config, _ = labelled
    with pytest.raises(ConfigError, match="needs pixels of the images"):
        run(scored_again(config, tmp_path / "out", {"name": "pixels", "method": "image_stats"}))


def test_the_plan_of_counting_travels_to_workers(labelled: tuple[Config, Path], tmp_path: Path) -> None:
    config, _ = labelled
    settings = Config.model_validate({"input": {"run": config.output.url}, "output": {"url": str(tmp_path)}})
    counting = Counting(concepts=(("a", "picture", ()),), columns=("entries",))
    plan = plan_count(settings, counting, open_storage())
    again = pickle.loads(pickle.dumps(plan))
    assert again.config_digest == plan.config_digest
    assert again().provenance == plan().provenance
