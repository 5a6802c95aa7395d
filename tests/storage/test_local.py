"""What only files can do wrong: orphans of dead processes, links, locks of stopped ones, rewriting in place."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from curator.errors import (
    ConfigError,
    CuratorError,
    ExistsError,
    ForbiddenError,
    NotFoundError,
    ReplacedError,
    RetryableError,
    ShardError,
)
from curator.storage import LocalStorage, join
from curator.storage.local_files import directory_lock, verdict


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], stdout=subprocess.PIPE, text=True
    )


def test_what_a_killed_process_was_writing_is_in_no_listing(tmp_path: Path) -> None:
    writer = start(
        """
        import sys, time
        from curator.storage import LocalStorage
        upload = LocalStorage().upload(sys.argv[1])
        upload.write(b"half of it")
        print("written", flush=True)
        time.sleep(60)
        """,
        f"{tmp_path}/part.parquet",
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    writer.stdout.close()
    left = os.listdir(tmp_path)
    assert len(left) == 1
    assert left[0].startswith(".")
    assert list(LocalStorage().list(f"{tmp_path}/")) == []
    LocalStorage().write(f"{tmp_path}/part.parquet", b"whole")
    assert [entry.size for entry in LocalStorage().list(f"{tmp_path}/")] == [5]


def test_replace_loses_no_update_between_processes(tmp_path: Path) -> None:
    url = f"{tmp_path}/counter"
    LocalStorage().write(url, b"0")
    adders = [
        start(
            """
            import sys
            from curator.errors import ReplacedError
            from curator.storage import LocalStorage
            storage, added = LocalStorage(), 0
            while added < 40:
                entry = storage.stat(sys.argv[1])
                value = int(storage.read(sys.argv[1]))
                try:
                    storage.replace(sys.argv[1], b"%d" % (value + 1), etag=entry.etag)
                    added += 1
                except ReplacedError:
                    pass
            """,
            url,
        )
        for _ in range(4)
    ]
    for adder in adders:
        assert adder.wait(60) == 0
        assert adder.stdout is not None
        adder.stdout.close()
    assert LocalStorage().read(url) == b"160"
    assert os.listdir(tmp_path) == ["counter"]


def test_create_without_hard_links_is_still_exclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    LocalStorage().create(f"{tmp_path}/a", b"1")
    with pytest.raises(ExistsError):
        LocalStorage().create(f"{tmp_path}/a", b"2")
    assert LocalStorage().read(f"{tmp_path}/a") == b"1"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_whose_answer_was_lost_was_made_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def answer_lost(source: str, target: str) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "sent twice by NFS")

    monkeypatch.setattr(os, "link", answer_lost)
    LocalStorage().create(f"{tmp_path}/a", b"1")
    assert LocalStorage().read(f"{tmp_path}/a") == b"1"


def test_a_lock_of_a_stopped_process_ends_in_a_retryable_error(tmp_path: Path) -> None:
    with (
        directory_lock(f"{tmp_path}/a"),
        pytest.raises(RetryableError, match="lslocks"),
        directory_lock(f"{tmp_path}/b", wait_s=0.05),
    ):
        pass
    with directory_lock(f"{tmp_path}/b", wait_s=0.05):
        pass


def test_where_directories_cannot_be_locked_a_private_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock

    def like_nfs(fd: int, operation: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EBADF, "an exclusive lock needs a file open for writing")
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", like_nfs)
    storage = LocalStorage()
    entry = storage.create(f"{tmp_path}/a", b"1")
    storage.replace(entry.url, b"2", etag=entry.etag)
    with (
        directory_lock(f"{tmp_path}/a"),
        pytest.raises(RetryableError),
        directory_lock(f"{tmp_path}/b", wait_s=0.01),
    ):
        pass
    assert [found.url for found in storage.list(f"{tmp_path}/")] == [entry.url]


def test_a_file_rewritten_in_place_is_no_mixture(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(bytes(3_000_000))
    entry = LocalStorage().stat(str(path))
    stream = LocalStorage().open(str(path), etag=entry.etag)
    assert stream.read(1000) == bytes(1000)
    with path.open("r+b") as file:
        file.write(b"x" * 3_000_001)
    with pytest.raises(ReplacedError, match=r"shard\.tar"):
        stream.read(2_000_000)
    stream.close()


def test_an_etag_grows_even_where_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = LocalStorage().write(f"{tmp_path}/a", b"1")
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    second = LocalStorage().write(f"{tmp_path}/a", b"2")
    third = LocalStorage().write(f"{tmp_path}/a", b"3")
    assert len({first.etag, second.etag, third.etag}) == 3
    assert LocalStorage().stat(f"{tmp_path}/a") == third


def test_links_are_followed_once_and_dangling_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tar").write_bytes(b"1")
    (tmp_path / "alias").symlink_to("data")
    (tmp_path / "data/loop").symlink_to("..")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = [entry.url.removeprefix(f"{tmp_path}/") for entry in LocalStorage().list(f"{tmp_path}/")]
    assert names == ["alias/a.tar", "data/a.tar"]


def test_relative_paths_stay_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage()
    storage.write("out/a", b"1")
    storage.create("b", b"2")
    assert [entry.url for entry in storage.list("")] == ["b", "out/a"]
    assert [entry.url for entry in storage.list("ou")] == ["out/a"]
    assert storage.read("./out/a") == b"1"


def test_an_upload_outlives_the_change_of_directory_it_was_begun_in(tmp_path: Path) -> None:
    upload = LocalStorage().upload(join(str(tmp_path), "not", "there", "yet", "part"))
    upload.write(b"1")
    assert upload.commit().size == 1


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOENT, NotFoundError),
        (errno.ENOTDIR, NotFoundError),
        (errno.EACCES, ForbiddenError),
        (errno.EROFS, ForbiddenError),
        (errno.ENAMETOOLONG, ShardError),
        (errno.EIO, RetryableError),
        (errno.ESTALE, RetryableError),
        (errno.ENOSPC, RetryableError),
    ],
)
def test_each_errno_has_its_verdict(number: int, expected: type[CuratorError]) -> None:
    error = verdict("/data/a", OSError(number, os.strerror(number)))
    assert type(error) is expected
    assert "/data/a" in str(error)


def test_paths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="null"):
        LocalStorage().read("a\0b")
    with pytest.raises(ShardError, match="long"):
        LocalStorage().read(f"{tmp_path}/{'x' * 300}")


def test_a_sweeper_removes_empty_directories_that_were_not_there(tmp_path: Path) -> None:
    storage, url = LocalStorage(), f"{tmp_path}/there/new/_ledger/lock.json"
    (tmp_path / "there").mkdir()
    sweep = storage.sweeper(url)
    sweep()  # nothing was made
    storage.create(url, b"x")
    sweep()
    assert storage.read(url) == b"x"
    storage.delete(url)
    storage.write(f"{tmp_path}/there/new/rows", b"x")
    sweep()
    assert list((tmp_path / "there" / "new").iterdir()) == [tmp_path / "there" / "new" / "rows"]
    storage.delete(f"{tmp_path}/there/new/rows")
    sweep()
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_file_is_written_though_its_directory_is_swept_away_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = os.makedirs, []

    def make_and_lose(path: str, **options: bool) -> None:
        make(path, **options)
        made.append(path)
        if len(made) == 1:
            os.rmdir(path)

    monkeypatch.setattr(os, "makedirs", make_and_lose)
    assert LocalStorage().write(f"{tmp_path}/new/file", b"x").size == 1
    assert len(made) == 2
