"""Folders of images to shards: what belongs together, what is written again, and what is refused."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from curator.errors import ConfigError
from curator.shards.manifest import expand
from curator.shards.pack import Packed, pack
from curator.shards.reader import read_samples
from curator.storage import MemoryStorage, open_storage
from curator.storage.base import Entry
from tests.builders import make_jpeg, make_png


def photos(root: Path) -> Path:
    files = {
        "b.jpg": make_jpeg(seed=1),
        "b.txt": b"a caption",
        "cats/IMG.2020.01.JPG": make_jpeg(seed=2),
        "cats/same.jpg": make_jpeg(seed=3),
        "cats/same.png": make_png(seed=4),
        "cats/same.txt": b"both",
        "dogs v1.2/d.webp": b"not looked into",
        "dogs v1.2/d.json": b'{"own": 1}',
        "dogs v1.2/lonely.txt": b"of nothing",
        "raw.heic": b"x",
        "README": b"x",
        "_trash/x.jpg": b"x",
        ".hidden.jpg": b"x",
        "zürich \u732b.bmp": b"y" * 700,
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def packed(root: Path, output: Path, **limits: int) -> Packed:
    return pack(str(root), str(output), open_storage(), **limits)


def test_every_image_is_a_sample_with_what_lies_beside_it(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    done = packed(root, tmp_path / "shards")
    assert (done.shards, done.written, done.samples, done.captions) == (1, 1, 6, 3)
    assert done.skipped == {"heic": 1, "": 1, "txt": 1}
    (shard,) = expand([str(tmp_path / "shards")], open_storage())
    samples = {sample.key: sample for sample in read_samples(shard.url)}
    assert list(samples) == ["b", "cats/IMG_2020_01", "cats/same_jpg", "cats/same_png", "dogs v1.2/d", "zürich \u732b"]
    assert samples["b"].fields["jpg"] == make_jpeg(seed=1)
    assert samples["b"].fields["txt"] == b"a caption"
    assert json.loads(samples["b"].fields["json"]) == {"path": "b.jpg", "folder": ""}
    assert json.loads(samples["cats/IMG_2020_01"].fields["json"]) == {"path": "cats/IMG.2020.01.JPG", "folder": "cats"}
    assert [samples[f"cats/same_{kind}"].fields["txt"] for kind in ("jpg", "png")] == [b"both", b"both"]
    assert samples["dogs v1.2/d"].fields == {"webp": b"not looked into", "json": b'{"own": 1}'}
    with tarfile.open(shard.url) as tar:  # as any other program reads it
        assert len(tar.getnames()) == sum(len(sample.fields) for sample in samples.values())


def test_again_only_what_changed_is_written(tmp_path: Path) -> None:
    root, output = photos(tmp_path / "photos"), tmp_path / "shards"
    assert packed(root, output, max_samples=2).written == 3
    before = expand([str(output)], open_storage())
    assert [len(list(read_samples(shard.url))) for shard in before] == [2, 2, 2]
    assert packed(root, output, max_samples=2).written == 0
    (root / "cats/same.png").write_bytes(make_png(seed=9))
    assert packed(root, output, max_samples=2).written == 1
    after = expand([str(output)], open_storage())
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    Path(after[0].url).unlink()
    assert packed(root, output, max_samples=2).written == 1
    with pytest.raises(ConfigError, match=r"000002\.tar: is no shard of these images"):
        packed(root, output, max_samples=3)


def test_shards_are_the_same_bytes_from_the_same_files(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    for name in ("one", "two"):
        packed(root, tmp_path / name)
    assert (tmp_path / "one/000000.tar").read_bytes() == (tmp_path / "two/000000.tar").read_bytes()


def test_a_shard_ends_before_it_is_too_large(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{number}.jpg").write_bytes(b"x" * 400)
    assert packed(tmp_path / "in", tmp_path / "out", max_bytes=1000).shards == 3
    assert packed(tmp_path / "in", tmp_path / "single", max_bytes=1).shards == 5


class Failing(MemoryStorage):
    def read(self, url: str) -> bytes:
        if url.endswith("1.jpg"):
            raise OSError("gone")
        return super().read(url)


def test_a_fault_leaves_no_half_shard() -> None:
    storage = Failing()
    for number in range(2):
        storage.write(f"memory://pack-fault/in/{number}.jpg", b"x")
    with pytest.raises(OSError, match="gone"):
        pack("memory://pack-fault/in", "memory://pack-fault/out", storage)
    assert list(storage.list("memory://pack-fault/out")) == []


def test_from_one_bucket_into_another() -> None:
    storage = MemoryStorage()
    storage.write("memory://pack-a/in/d/0.jpg", b"x")
    assert pack("memory://pack-a/in/", "memory://pack-b/out/", storage).samples == 1
    entries: list[Entry] = list(storage.list("memory://pack-b/"))
    assert [entry.url for entry in entries] == [
        "memory://pack-b/out/000000.tar",
        "memory://pack-b/out/_pack/000000.tar.json",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no image .it is empty or not there"),
        (["a.heic", "b.heic", "c.pdf"], r"holds no image .2 \*\.heic, 1 \*\.pdf.; images are \*\.bmp"),
        (["a.b.jpg", "a_b.jpg", "a_b.png"], r"'a\.b\.jpg' and 'a_b\.jpg' would both be sample 'a_b_jpg'; rename one"),
    ],
)
def test_what_cannot_be_packed_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match=message):
        packed(tmp_path, tmp_path.parent / "out")


def test_shards_do_not_go_among_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="cannot stand among the images"):
        pack(".", "shards", open_storage())
    assert not os.path.exists("shards")


@pytest.mark.parametrize("given", ["photos", "photos/*.jpg", "photos/b.jpg", "photos/cats/", "photos/**"])
def test_images_where_shards_are_meant_name_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="curator pack FOLDER --output SHARDS"):
        expand([given], open_storage())
