"""Curator as a library: the main job as one call, and each room's front door alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import curator
from curator.errors import ConfigError
from tests.builders import make_image, make_jpeg, make_samples, write_tar


def test_label_and_open_dataset(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_tar(tmp_path / "shards" / "0.tar", make_samples(7))
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    told = []
    summary = curator.label(
        str(tmp_path / "shards"),
        tmp_path / "out",
        vocabulary=tmp_path / "labels.txt",
        encoder={"name": f"local-dir:{tiny_encoder_dir}", "precision": "float32"},
        decode={"threads": 1},
        observe=told.append,
    )
    assert (summary.status, summary.totals["rows"]) == ("complete", 7)
    assert told[-1].settled == 1
    table = curator.open_dataset(tmp_path / "out").to_table(columns=["key", "labels", "labels_abstained"])
    assert table.num_rows == 7
    assert {len(labels) for labels in table["labels"].to_pylist()} == {2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"score": ["clip_score"]}, "unknown key 'score'; did you mean 'scores'"),
        ({"encoder": "embedded"}, r"encoder is \'embedded\'; it must be a table of settings: write \[encoder\] above"),
        ({"scores": "clip_score"}, "scores: give a list"),
    ],
)
def test_arguments_that_do_not_fit_are_settings_at_fault(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        curator.label("shards", "out", **given)


def test_rooms_alone(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    shard = write_tar(tmp_path / "0.tar", make_samples(3))
    samples = list(curator.read_samples(str(shard)))
    assert [sample.key for sample in samples] == ["000000", "000001", "000002"]

    encoder = curator.Encoder.open(f"local-dir:{tiny_encoder_dir}", precision="float32")
    decoder = curator.Decoder(encoder.preprocess)
    decoded = decoder(samples[0].fields["jpg"])
    assert decoded.pixels.shape == (3, *encoder.preprocess.size)
    (tmp_path / "a.jpg").write_bytes(make_jpeg(seed=5))
    vectors = encoder.embed([make_image(seed=1), tmp_path / "a.jpg", make_jpeg(seed=2)])
    assert vectors.shape == (3, encoder.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    np.testing.assert_allclose(encoder.embed_text(["a dog"]).norm().item(), 1, rtol=1e-5)


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"it exports .*label"):
        _ = curator.lable
