"""Shards as they are written: the same bytes each time, members adjacent, pictures that read back."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from curator.training.pictures import Picture, open_picture, thumbnail
from curator.training.shardfile import Drawn, encode, split, write_shard

RED = Image.new("RGBA", (40, 20), (200, 30, 30, 128))


def drawn(number: int) -> Drawn:
    ending = ("jpg", "png", "webp")[number % 3]
    return Drawn(f"{number:04d}", ending, encode(RED, ending), f"caption {number}", {"b": 1, "a": number})


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        assert write_shard(tmp_path / name, map(drawn, range(5))) == 5
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_members_of_a_sample_stand_together_and_read_back(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", map(drawn, range(3)))
    with tarfile.open(tmp_path / "a.tar") as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert list(contents)[:3] == ["0000.jpg", "0000.json", "0000.txt"]
    assert json.loads(contents["0001.json"]) == {"a": 1, "b": 1}
    assert Image.open(io.BytesIO(contents["0001.png"])).mode == "RGBA"
    assert Image.open(io.BytesIO(contents["0000.jpg"])).getpixel((5, 5))[0] > 200  # type: ignore[index]


def test_an_unknown_ending_is_refused() -> None:
    with pytest.raises(ValueError, match="bmp"):
        encode(RED, "bmp")


def test_split_leaves_nobody_out() -> None:
    samples = [drawn(number) for number in range(7)]
    assert [len(part) for part in split(samples, 3)] == [3, 3, 1]


def test_a_thumbnail_is_a_transparent_square_around_the_picture(tmp_path: Path) -> None:
    RED.save(tmp_path / "red.png")
    pixels = thumbnail(Picture("red", "test", path=tmp_path / "red.png"), 32)
    assert pixels is not None
    assert pixels.shape == (32, 32, 4)
    assert pixels[0].max() == 0
    assert pixels[16, 16, 3] == 128
    (tmp_path / "cut.png").write_bytes((tmp_path / "red.png").read_bytes()[:60])
    assert thumbnail(Picture("cut", "test", path=tmp_path / "cut.png"), 32) is None


def test_vectors_are_drawn_at_the_size_asked_for() -> None:
    pytest.importorskip("resvg_py")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="20"><rect width="10" height="20" fill="red"/></svg>'
    )
    assert open_picture(Picture("bar", "test", svg=svg), 64).size == (32, 64)
    with pytest.raises(OSError, match="not an SVG"):
        open_picture(Picture("bad", "test", svg="<svg"), 64)
