"""The embedded encoder as shipped: open_clip loads it offline, and it does what its card says on unseen pictures."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import curator
from curator.training.evaluate import Judge, accuracy
from curator.training.release import CONFIG_FILE, MAX_BYTES, WEIGHTS_FILE

PACKAGE = Path(curator.__file__).parent
EMBEDDED = PACKAGE / "encoder" / "embedded"
DEMO = PACKAGE / "demo"

FLOOR_TOP1, FLOOR_TOP5 = 50, 78

Sample = tuple[bytes, dict[str, str]]


def demo_samples() -> Iterator[Sample]:
    """Image bytes and metadata of every demo sample."""
    for path in sorted((DEMO / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            image = b""
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None
                if member.name.endswith(".json"):
                    yield image, json.load(stream)
                elif not member.name.endswith(".txt"):
                    image = stream.read()


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Judge(EMBEDDED)
    torch.set_num_threads(before)


def test_it_is_small_and_ready_for_a_local_dir() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir() if path.is_file()) <= MAX_BYTES
    assert (EMBEDDED / WEIGHTS_FILE).is_file()
    config = json.loads((EMBEDDED / CONFIG_FILE).read_text())
    assert config["model_cfg"]["vision_cfg"]["image_size"] == 64
    assert (EMBEDDED / "MODEL_CARD.md").is_file()


def test_pictures_and_names_have_unit_vectors(judge: Judge) -> None:
    vectors = judge.images([Image.new("RGBA", (30, 50), (200, 30, 30, 255)), Image.new("RGB", (64, 64))])
    assert vectors.shape == (2, 128)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-4)
    assert torch.allclose(judge.names(["pizza"]).norm(dim=1), torch.ones(1), atol=1e-4)


def test_it_names_the_demos_noto_pictures(judge: Judge) -> None:
    labels = (DEMO / "vocabulary.txt").read_text(encoding="utf-8").strip().split("\n")
    sound = [
        (Image.open(io.BytesIO(image)), metadata["label"])
        for image, metadata in demo_samples()
        if metadata["source"] == "noto-emoji" and "fault" not in metadata
    ]
    truths = torch.tensor([labels.index(label) for _, label in sound])
    score = accuracy("demo", judge.images([image for image, _ in sound]), judge.names(labels), truths)
    assert score.count > 100
    assert score.top1 > FLOOR_TOP1
    assert score.top5 > FLOOR_TOP5


def test_it_tells_the_groups_apart(judge: Judge) -> None:
    groups = ["food and drink", "animals and nature", "travel and places", "objects"]
    pictures = [
        (Image.open(io.BytesIO(image)), metadata["group"])
        for image, metadata in demo_samples()
        if metadata.get("group") in groups and "fault" not in metadata
    ]
    truths = torch.tensor([groups.index(group) for _, group in pictures])
    score = accuracy("groups", judge.images([image for image, _ in pictures]), judge.names(groups), truths)
    assert score.top1 > 58  # chance: 25
