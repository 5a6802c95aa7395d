"""The node's cache: where it is, and that its lock excludes others without ever hanging."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from pathlib import Path

import pytest

from curator.cache import cache_root, locked, replacing
from curator.errors import RetryableError


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root("/somewhere") == Path("/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "curator"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root(None) == tmp_path / ".cache" / "curator"


def _log_turn(directory: Path) -> None:
    with locked(directory / "x.lock", timeout_s=60):
        with open(directory / "turns", "a") as file:
            file.write("in ")
        time.sleep(0.05)
        with open(directory / "turns", "a") as file:
            file.write("out ")


def test_processes_take_turns(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_log_turn, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "turns").read_text() == "in out " * 3


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "x.lock", timeout_s=1),
        pytest.raises(RetryableError, match="another process held"),
        locked(tmp_path / "x.lock", timeout_s=0.1),
    ):
        pass


def test_an_unusable_place_costs_the_lock_and_not_the_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with locked(tmp_path / "file" / "x.lock", timeout_s=1):
        worked = True
    assert worked
    assert "going on without the lock" in caplog.text


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("one")
        second.write_text("two")
        assert not path.exists()
    assert path.read_text() == "one"
    with contextlib.suppress(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "one"
    assert [each.name for each in path.parent.iterdir()] == ["file"]
