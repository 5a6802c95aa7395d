"""Several encoders in one run: each image decoded once, embedded by all, labelled by whichever a label set names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator.config import Config
from curator.encoder import Encoder
from curator.engine.maintain import verify_output
from curator.engine.run import label
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.curation.jobs import make_source, relabel_config, run, table
from tests.run.jobs import LABELS, job_config, local_fleet


@pytest.fixture(scope="module")
def other(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of the same shape with other weights."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("other") / "encoder"
    shutil.copytree(tiny_encoder_dir, folder)
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    save_file(
        {name: value * 0.7 + 0.01 if value.is_floating_point() else value for name, value in tensors.items()}, weights
    )
    return folder


def both(other: Path, vocabulary: Path) -> dict[str, Any]:
    vocabulary.write_text("\n".join(LABELS) + "\n")
    return {
        "encoders": [{"name": "second", "encoder": f"local-dir:{other}", "precision": "float32"}],
        "labels": [
            {"vocabulary": str(vocabulary), "top_k": 3},
            {"name": "others", "vocabulary": str(vocabulary), "top_k": 3, "encoder": "second"},
        ],
    }


def test_each_encoder_gives_what_it_gives_alone(tmp_path: Path, tiny_encoder_dir: Path, other: Path) -> None:
    source = make_source(tmp_path, tiny_encoder_dir, **both(other, tmp_path / "both.txt"))
    alone = job_config(tmp_path / "shards", other, tmp_path / "alone")
    assert label(alone, fleet=local_fleet(alone)).status == "complete"
    rows, expected = (
        table(output).sort_by("sample_id").to_pylist() for output in (source.output.url, tmp_path / "alone")
    )
    assert len(rows) == len(expected) > 0
    for row, wanted in zip(rows, expected, strict=True):
        if row["status"] == "rejected":
            assert row["others"] is None
            assert set(row["second_embedding"]) == {None}
            continue
        assert np.allclose(row["second_embedding"], wanted["embedding"], atol=1e-5)
        assert not np.allclose(row["embedding"], wanted["embedding"], atol=1e-2)
        assert [each["score"] for each in row["others"]] == pytest.approx(
            [each["score"] for each in wanted["labels"]], abs=1e-4
        )
    assert [problem for _, found in verify_output(source.output.url, open_storage()) for problem in found] == []
    footer = json.loads((Path(source.output.url) / "_ledger" / "run.json").read_text())["digests"]
    assert footer["encoder_digest.second"] == Encoder.open(f"local-dir:{other}").digest != footer["encoder_digest"]


def test_stored_embeddings_of_either_are_labelled_again(tmp_path: Path, tiny_encoder_dir: Path, other: Path) -> None:
    source = make_source(tmp_path, tiny_encoder_dir, **both(other, tmp_path / "both.txt"))
    again = {"name": "again", "vocabulary": str(tmp_path / "both.txt"), "top_k": 3}
    config = relabel_config(source, tmp_path / "new", again, {**again, "name": "again_other", "encoder": "second"})
    assert run(config).status == "complete"
    for row in table(tmp_path / "new").to_pylist():
        for new, old in (("again", "labels"), ("again_other", "others")):
            scores = [None if row[name] is None else [each["score"] for each in row[name]] for name in (new, old)]
            assert scores[0] == (None if scores[1] is None else pytest.approx(scores[1], abs=1e-4))
    once_more = relabel_config(
        config.model_copy(update={"input": source.input}), tmp_path / "third", {**again, "encoder": "second"}
    )
    assert run(once_more).status == "complete", "a relabelled run still knows the encoders of its embeddings"


def test_what_cannot_be_is_refused(tmp_path: Path, tiny_encoder_dir: Path, other: Path) -> None:
    settings = both(other, tmp_path / "both.txt")
    source = make_source(tmp_path, tiny_encoder_dir)
    with pytest.raises(ConfigError, match=r"encoder 'secnd' is none of .*did you mean 'second'"):
        label(
            Config.model_validate(
                {
                    **source.model_dump(),
                    "labels": [{**settings["labels"][1], "encoder": "secnd"}],
                    "encoders": settings["encoders"],
                }
            )
        )
    absent = {**settings["labels"][1]}
    config = relabel_config(source, tmp_path / "new", absent)
    config = Config.model_validate({**config.model_dump(exclude_unset=True), "encoders": settings["encoders"]})
    with pytest.raises(ConfigError, match=r"has no embeddings of .* as 'second'"):
        run(config)
    turned = tmp_path / "turned"
    shutil.copytree(other, turned)
    (stated,) = turned.glob("open_clip_config.json")
    facts = json.loads(stated.read_text())
    facts["preprocess_cfg"]["resize_mode"] = "squash"
    stated.write_text(json.dumps(facts))
    settings["encoders"][0]["encoder"] = f"local-dir:{turned}"
    squashed = Config.model_validate({**source.model_dump(), **settings, "output": {"url": str(tmp_path / "squashed")}})
    with pytest.raises(ConfigError, match="each image is decoded once; label with that encoder in a run of its own"):
        label(squashed, fleet=local_fleet(squashed))
