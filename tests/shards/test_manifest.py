from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.data import shard_id
from curator.errors import ConfigError
from curator.shards.braces import expand_braces
from curator.shards.manifest import expand
from curator.storage import MemoryStorage, open_storage
from curator.storage.base import Entry


def memory(*names: str, space: str) -> MemoryStorage:
    storage = MemoryStorage()
    for name in names:
        storage.write(f"memory://{space}/{name}", b"x")
    return storage


def names(inputs: list[str], storage: MemoryStorage, space: str) -> list[str]:
    return [shard.url.removeprefix(f"memory://{space}/") for shard in expand(inputs, storage)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{0..3}", ["0", "1", "2", "3"]),
        ("{008..010}.tar", ["008.tar", "009.tar", "010.tar"]),
        ("{8..010}", ["008", "009", "010"]),
        ("{00..10..5}", ["00", "05", "10"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{-1..1}", ["-1", "0", "1"]),
        ("{-01..01}", ["-01", "000", "001"]),
        ("{a..e..2}", ["a", "c", "e"]),
        ("{a,b}{1,2}", ["a1", "a2", "b1", "b2"]),
        ("x{a,b{1..2},}", ["xa", "xb1", "xb2", "x"]),
        ("{a,{b,c},{1..2}}", ["a", "b", "c", "1", "2"]),
        ("{000}.tar", ["{000}.tar"]),
        ("{{a,b}}", ["{a}", "{b}"]),
        ("a{b,c", ["a{b,c"]),
        ("plain", ["plain"]),
        ("", [""]),
    ],
)
def test_braces_expand_as_in_bash(pattern: str, expected: list[str]) -> None:
    assert list(expand_braces(pattern)) == expected


@pytest.mark.parametrize(
    "pattern", ["{0..99999999999}", "{0..9999}{0..9999}", "{{0..99999},{0..999}{0..999999}}", "{a," * 99]
)
def test_braces_that_explode_are_refused(pattern: str) -> None:
    if pattern.startswith("{a,"):
        pattern += "b" + "}" * 99
    with pytest.raises(ConfigError, match=r"names|deep"):
        list(expand_braces(pattern))


def test_globs_prefixes_and_order() -> None:
    storage = memory(
        "b/1.tar", "b/0.tar.gz", "a.tgz", "b/c/d.TAR", "b/x.txt", "_l/a.tar", "b/.h.tar", "b/_p.tar", space="g1"
    )
    root = "memory://g1"
    every = ["a.tgz", "b/0.tar.gz", "b/1.tar", "b/c/d.TAR"]
    assert names([root], storage, "g1") == every
    assert names([f"{root}/"], storage, "g1") == every
    assert names([f"{root}/b"], storage, "g1") == every[1:]
    assert names([f"{root}/*"], storage, "g1") == ["a.tgz"]
    assert names([f"{root}/b/*.tar"], storage, "g1") == ["b/1.tar"]
    assert names([f"{root}/**/*.t*"], storage, "g1") == ["a.tgz", "b/0.tar.gz", "b/1.tar", "b/x.txt"]
    assert names([f"{root}/b/?.tar*"], storage, "g1") == ["b/0.tar.gz", "b/1.tar"]
    assert names([f"{root}/b/[!1].tar*"], storage, "g1") == ["b/0.tar.gz"]
    assert names([f"{root}/b/[0-1].t*"], storage, "g1") == ["b/0.tar.gz", "b/1.tar"]
    assert names([f"{root}/{{b/1,a}}*"], storage, "g1") == ["b/1.tar", "a.tgz"]
    assert names([f"{root}/b/c", f"{root}/b/1.tar", root], storage, "g1") == [
        "b/c/d.TAR",
        "b/1.tar",
        "a.tgz",
        "b/0.tar.gz",
    ]


def test_sizes_come_with_a_listing_and_not_with_a_remote_name() -> None:
    storage = memory("0.tar", space="g2")
    (listed,) = expand(["memory://g2/*.tar"], storage)
    assert (listed.size, bool(listed.etag)) == (1, True)
    (named,) = expand(["memory://g2/0.tar"], storage)
    assert (named.size, named.etag) == (None, None)
    (both,) = expand(["memory://g2/0.tar", "memory://g2/"], storage)
    assert both == listed


def test_lists_hold_one_input_a_line(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar", "c.tar"):
        (tmp_path / name).write_bytes(b"x")
    listing = tmp_path / "list.txt"
    listing.write_text(f"# shards\n{tmp_path}/c.tar\n\n  {tmp_path}/{{a,b}}.tar  \n{tmp_path}/a.tar\n")
    shards = expand([f"@{listing}"], open_storage())
    assert [Path(shard.url).name for shard in shards] == ["c.tar", "a.tar", "b.tar"]
    assert all(shard.size == 1 for shard in shards)


def test_relative_lines_of_a_list_start_where_the_list_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "set [1]"
    (odd / "shards").mkdir(parents=True)
    (odd / "shards/a.tar").write_bytes(b"x")
    (odd / "list.txt").write_text("shards/*.tar\n./shards/a.tar\n")
    expected = [f"{odd}/shards/a.tar"]
    assert [shard.url for shard in expand([f"@{odd}/list.txt"], open_storage())] == expected
    monkeypatch.chdir(odd)
    assert [shard.url for shard in expand(["@list.txt"], open_storage())] == expected
    with (odd / "list.txt").open() as pipe:  # as a shell's <(...), which lies nowhere
        assert [shard.url for shard in expand([f"@/dev/fd/{pipe.fileno()}"], open_storage())] == expected
    storage = memory("s/0.tar", space="g5")
    storage.write("memory://g5/list.txt", b"s/0.tar\ns/*.tar\n")
    assert names(["@memory://g5/list.txt"], storage, "g5") == ["s/0.tar"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{root}/none.tar", r"none\.tar.*no such file"),
        ("{root}/{{000}}.tar", r"\{000\}.*braces need a comma or a range"),
        ("{root}/{{0..1}}.tar", r"0\.tar', named by '.*\{0\.\.1\}\.tar'"),
        ("{root}/*.tar", r"\*\.tar' stands for no shard: looked for .*\*\.tar"),
        ("{root}/empty", r"empty' stands for no shard: looked for \*\.tar, \*\.tar\.gz or \*\.tgz below '.*/empty/'"),
        ("@{root}/none.txt", r"none\.txt: the list of inputs cannot be read"),
        ("@{root}/comments.txt", "no line that names a shard"),
        ("@{root}/nested.txt", "cannot hold another list"),
        ("{root}/[z-a].tar", "is no pattern"),
        (" ", "empty input"),
    ],
)
def test_an_input_that_stands_for_nothing_says_so(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "comments.txt").write_text("# nothing\n\n")
    (tmp_path / "nested.txt").write_text("@other.txt\n")
    with pytest.raises(ConfigError, match=message):
        expand([given.format(root=tmp_path)], open_storage())


def test_no_input_at_all_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no input"):
        expand([], open_storage())


def test_local_names_are_checked_by_one_listing(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number:03d}.tar").write_bytes(b"x" * number)
    shards = expand([f"{tmp_path}/{{000..199}}.tar"], open_storage())
    assert [shard.size for shard in shards] == list(range(200))
    (tmp_path / "150.tar").unlink()
    with pytest.raises(ConfigError, match=r"150\.tar"):
        expand([f"{tmp_path}/{{000..199}}.tar"], open_storage())


def test_a_local_shard_is_known_by_one_name_however_it_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a.tar", "d/b.tar"):
        (tmp_path / name).write_bytes(b"x")
    one, two = f"{tmp_path}/a.tar", f"{tmp_path}/d/b.tar"
    monkeypatch.chdir(tmp_path)
    spelled = ["a.tar", "./a.tar", "d/../a.tar", one, f"/{one}", f"file://{one}", "*.tar", "file://./a.tar"]
    for given in spelled:
        assert [shard.url for shard in expand([given], open_storage())] == [one], given
    assert [shard.url for shard in expand([*spelled, "d//b.tar", "d", "**/b.tar"], open_storage())] == [one, two]
    monkeypatch.chdir(tmp_path / "d")
    assert [shard.id for shard in expand(["../a.tar", "b.tar"], open_storage())] == [shard_id(one), shard_id(two)]


def test_a_name_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    odd = tmp_path / "photos [1] {a,b}"
    odd.mkdir()
    (odd / "x[0]*.tar").write_bytes(b"x")
    (odd / "x0.tar").write_bytes(b"x")
    assert [shard.url for shard in expand([f"{odd}/x[0]*.tar"], open_storage())] == [f"{odd}/x[0]*.tar"]
    assert [shard.url for shard in expand([f"{odd}"], open_storage())] == [f"{odd}/x0.tar", f"{odd}/x[0]*.tar"]


def test_a_link_is_a_shard_of_its_own_and_a_step_back_behind_it_leads_where_the_system_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "real/a.tar").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real/deep")
    (tmp_path / "a.tar").symlink_to(tmp_path / "real/a.tar")
    assert len(expand([f"{tmp_path}/a.tar", f"{tmp_path}/real/a.tar"], open_storage())) == 2
    (shard,) = expand([f"{tmp_path}/link/../a.tar"], open_storage())
    assert os.path.samefile(shard.url, tmp_path / "real/a.tar")
    monkeypatch.chdir(tmp_path / "link")
    monkeypatch.setenv("PWD", f"{tmp_path}/link")  # as a shell keeps it: the name by which the user went there
    (tmp_path / "real/deep/c.tar").write_bytes(b"x")
    assert [shard.url for shard in expand(["c.tar"], open_storage())] == [f"{tmp_path}/link/c.tar"]
    monkeypatch.setenv("PWD", str(tmp_path))  # stale: of another directory
    assert [shard.url for shard in expand(["c.tar"], open_storage())] == [f"{tmp_path}/real/deep/c.tar"]


def test_http_urls_are_taken_as_they_are() -> None:
    urls = ["https://host/a/0.tar?key=*[1]", "http://host/shard"]
    assert [shard.url for shard in expand(urls, open_storage())] == urls


class Million(MemoryStorage):
    def list(self, prefix: str) -> Iterator[Entry]:
        return (Entry(f"{prefix}{number:07d}.tar", 1 << 28, f"{number:032x}") for number in range(1_000_000))


@pytest.mark.parametrize("given", ["s3://bucket/{0000000..0999999}.tar", "s3://bucket/"])
@pytest.mark.slow
def test_a_million_shards_are_planned_in_bounded_time_and_memory(given: str) -> None:
    start = time.process_time()
    assert len(expand([given], Million())) == 1_000_000
    assert time.process_time() - start < 20
    tracemalloc.start()
    expand([given], Million())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 30
