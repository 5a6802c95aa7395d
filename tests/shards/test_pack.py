"""Folders of images to shards: what belongs together, what is written again, and what is refused."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.errors import ConfigError
from curator.shards.manifest import expand
from curator.shards.pack import Packed, pack
from curator.shards.reader import read_samples
from curator.storage import MemoryStorage, open_storage
from curator.storage.base import Entry, Upload
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


def packed(root: Path, output: Path, max_samples: int = 1000, max_bytes: int = 1 << 20, prune: bool = False) -> Packed:
    return pack(str(root), str(output), open_storage(), max_samples=max_samples, max_bytes=max_bytes, prune=prune)


def test_every_image_is_a_sample_with_what_lies_beside_it(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    done = packed(root, tmp_path / "shards")
    assert (done.shards, done.written, done.samples, done.captions) == (1, 1, 6, 3)
    assert done.skipped == {"heic": 1, "": 1, "txt": 1}
    assert (done.hidden, done.dangling) == (2, 0)
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
    with pytest.raises(ConfigError, match=r"holds 1 tar \(000002\.tar\) written by pack .* --prune removes"):
        packed(root, output, max_samples=3)


def ten(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(10):
        (root / f"{number}.jpg").write_bytes(make_jpeg(seed=number))
    return root


def content(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_shards_of_an_earlier_call_are_removed_where_that_is_said(tmp_path: Path) -> None:
    root, output = ten(tmp_path / "photos"), tmp_path / "shards"
    assert packed(root, output, max_samples=1).shards == 10
    before = content(output)
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (root / name).unlink()
    with pytest.raises(ConfigError, match=r"holds 3 tars \(000007\.tar, 000008\.tar, 000009\.tar\) written by pack"):
        packed(root, output, max_samples=1)
    with pytest.raises(ConfigError, match=r"holds 7 tars \(000003\.tar, .*, 000007\.tar and 2 more\) written by pack"):
        packed(root, output, max_samples=3)
    assert content(output) == before
    done = packed(root, output, max_samples=3, prune=True)
    assert (done.shards, done.samples, done.pruned) == (3, 7, 7)
    names = [f"{number:06d}.tar" for number in range(3)]
    assert sorted(content(output)) == sorted([*names, *(f"_pack/{name}.json" for name in names)])
    keys = [sample.key for shard in expand([str(output)], open_storage()) for sample in read_samples(shard.url)]
    assert keys == [str(number) for number in range(3, 10)]
    again = packed(root, output, max_samples=3, prune=True)
    assert (again.written, again.pruned) == (0, 0)


def test_a_copied_shard_is_still_known_and_a_changed_one_is_not(tmp_path: Path) -> None:
    root, output = ten(tmp_path / "photos"), tmp_path / "shards"
    packed(root, output, max_samples=2)
    for number in (3, 4):
        os.utime(output / f"00000{number}.tar", ns=(1, 1))
    changed = bytearray((output / "000004.tar").read_bytes())
    changed[600] ^= 1
    (output / "000004.tar").write_bytes(changed)
    (output / "other.tar").write_bytes(b"mine")
    before = content(output)
    with pytest.raises(ConfigError, match=r"holds 2 tars \(000004\.tar, other\.tar\) not known") as refused:
        packed(root, output, max_samples=4)
    assert "1 tar (000003.tar) written by pack in an earlier call" in str(refused.value)
    with pytest.raises(ConfigError, match=r"holds 2 tars \(000004\.tar, other\.tar\) not known") as refused:
        packed(root, output, max_samples=4, prune=True)
    assert "000003.tar" not in str(refused.value)
    assert content(output) == before
    for name in ("000004.tar", "other.tar"):
        (output / name).unlink()
    assert packed(root, output, max_samples=4, prune=True).pruned == 1


def test_a_tar_of_others_is_not_overwritten(tmp_path: Path) -> None:
    root, output = ten(tmp_path / "photos"), tmp_path / "shards"
    output.mkdir()
    (output / "000001.tar").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"holds 1 tar \(000001\.tar\) not known as written by pack"):
        packed(root, output, max_samples=5, prune=True)
    assert content(output) == {"000001.tar": b"mine"}


def test_a_call_that_ended_between_shard_and_record_goes_on(tmp_path: Path) -> None:
    root, output = photos(tmp_path / "photos"), tmp_path / "shards"
    packed(root, output)
    before = content(output)
    (output / "_pack/000000.tar.json").unlink()
    assert packed(root, output).written == 1
    assert content(output)["000000.tar"] == before["000000.tar"]
    assert packed(root, output).written == 0


def test_records_of_before_there_were_sums_let_write_but_not_remove(tmp_path: Path) -> None:
    root, output = ten(tmp_path / "photos"), tmp_path / "shards"
    packed(root, output, max_samples=5)
    for record in (output / "_pack").iterdir():
        told = json.loads(record.read_bytes())
        record.write_text(json.dumps({name: told[name] for name in ("sources", "samples")}))
    assert packed(root, output, max_samples=5).written == 0
    with pytest.raises(ConfigError, match=r"1 tar \(000001\.tar\) not known as written by pack"):
        packed(root, output, max_samples=10, prune=True)
    (root / "9.jpg").write_bytes(make_jpeg(seed=99))
    assert packed(root, output, max_samples=5).written == 1


class Replaced(MemoryStorage):
    """Another program takes the last shard's name while the first is written."""

    def upload(self, url: str) -> Upload:
        if url.endswith("out/000000.tar"):
            super().write(url.replace("000000", "000001"), b"mine")
        return super().upload(url)


def test_a_shard_that_another_program_replaces_meanwhile_stays() -> None:
    plain, folder, output = MemoryStorage(), "memory://pack-race/in", "memory://pack-race/out"
    for number in range(2):
        plain.write(f"{folder}/{number}.jpg", b"x")
    pack(folder, output, plain, max_samples=1)
    assert pack(folder, output, Replaced(), max_samples=2, prune=True).pruned == 0
    assert plain.read(f"{output}/000001.tar") == b"mine"


def test_links_to_nothing_and_hidden_files_are_counted(tmp_path: Path) -> None:
    root = ten(tmp_path / "photos")
    (root / "deep").mkdir()
    for link, target in {"gone.jpg": "nowhere.jpg", "deep/gone": "nowhere", "deep/up": "..", "ok.jpg": "0.jpg"}.items():
        (root / link).symlink_to(target)
    (root / ".git").mkdir()
    (root / ".git/config").write_bytes(b"x")
    (root / "deep/_draft.jpg").write_bytes(b"x")
    done = packed(root, tmp_path / "shards")
    assert (done.samples, done.hidden, done.dangling, done.skipped) == (11, 2, 2, {})
    told = CliRunner().invoke(app, ["pack", str(root), "-o", str(tmp_path / "shards"), "--samples", "20"])
    assert told.exit_code == 0
    assert "left out: 2 hidden, being in a folder or of a name that begins with . or _" in told.output
    assert "left out: 2 dangling, being a link that leads to nothing" in told.output


def test_the_command_removes_what_it_names(tmp_path: Path) -> None:
    root, output = ten(tmp_path / "photos"), tmp_path / "shards"
    command = ["pack", str(root), "-o", str(output), "--samples"]
    assert CliRunner().invoke(app, [*command, "3"]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, [*command, "5"]).exception, ConfigError)
    assert "removed, being no longer needed: 2" in CliRunner().invoke(app, [*command, "5", "--prune"]).output
    assert len(list(output.glob("*.tar"))) == 2


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
        (
            ["a.b.jpg", "a_b.jpg", "a_b.png"],
            r"'a\.b\.jpg' and 'a_b\.jpg' would both be sample 'a_b_jpg'; rename all but one",
        ),
        (
            ["a.jpg", "a.JPG", "x.y.png", "x_y.png", "x.y.PNG", *(f"{n}.{c}" for n in "cdefg" for c in ("gif", "GIF"))],
            r": 7 samples would be several images each: 'a\.JPG' and 'a\.jpg' would both be sample 'a_jpg'; .*"
            r"'f\.GIF' and 'f\.gif' would both be sample 'f_gif'; and 2 more; rename all but one of each",
        ),
        (["x.y.png", "x_y.png", "x.y.PNG"], r"'x\.y\.PNG', 'x\.y\.png', 'x_y\.png' would all be sample 'x_y_png'; ren"),
        (
            [".a.jpg", ".b.jpg", "_c.jpg", "d.pdf"],
            r"holds no image .1 \*\.pdf, 3 hidden, beginning with \. or _.; images",
        ),
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
