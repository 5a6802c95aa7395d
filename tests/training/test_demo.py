"""The demo shards as shipped: well formed, small, and broken in exactly two places."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

import curator

DEMO = Path(curator.__file__).parent / "demo"
SHARDS = sorted((DEMO / "shards").glob("*.tar"))


def members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def test_there_are_three_and_they_are_small() -> None:
    assert [path.name for path in SHARDS] == ["demo-0000.tar", "demo-0001.tar", "demo-0002.tar"]
    assert sum(path.stat().st_size for path in SHARDS) <= 3_000_000


@pytest.mark.parametrize("path", SHARDS, ids=lambda path: path.name)
def test_members_of_a_sample_stand_together(path: Path) -> None:
    names = [name for name, _ in members(path)]
    assert 60 <= len(names) // 3 <= 100
    for start in range(0, len(names), 3):
        keys = {name.partition(".")[0] for name in names[start : start + 3]}
        assert len(keys) == 1
        assert [name.partition(".")[2] for name in names[start + 1 : start + 3]] == ["json", "txt"]
    assert len({name for name in names}) == len(names)


def test_one_picture_is_cut_and_one_is_a_web_page() -> None:
    faults = []
    for path in SHARDS:
        read = members(path)
        for (name, image), (_, metadata) in zip(read[::3], read[1::3], strict=True):
            try:
                with Image.open(io.BytesIO(image)) as opened:
                    opened.load()
            except OSError:
                faults.append((name.partition(".")[2], json.loads(metadata)["fault"]))
    assert sorted(faults) == [("jpg", "a web page on purpose"), ("png", "truncated on purpose")]


def test_all_three_formats_and_transparency_are_there() -> None:
    pictures = [content for path in SHARDS for name, content in members(path) if not name.endswith((".json", ".txt"))]
    modes = set()
    for content in pictures:
        if not content.startswith(b"<"):
            with Image.open(io.BytesIO(content)) as opened:
                modes.add((opened.format, opened.mode))
    assert {("JPEG", "RGB"), ("PNG", "RGBA"), ("WEBP", "RGBA")} <= modes


def test_the_vocabulary_holds_every_label_of_the_samples() -> None:
    labels = (DEMO / "vocabulary.txt").read_text(encoding="utf-8").strip().split("\n")
    assert 150 <= len(labels) <= 300
    assert len(set(labels)) == len(labels)
    for path in SHARDS:
        for name, content in members(path):
            if name.endswith(".json") and "label" in json.loads(content):
                assert json.loads(content)["label"] in labels
