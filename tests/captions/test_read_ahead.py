"""Files of a bank that are brought into the system's cache while others work, and those that are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curator.captions import CaptionBank, local, search
from curator.captions.local import read_ahead
from curator.storage import open_storage
from tests.captions.banks import units, write_bank

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no system that can be asked")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What the system was asked for: the file's name, where from, how much."""
    found: list[tuple[str, int, int]] = []

    def advise(handle: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        found.append((Path(os.readlink(f"/proc/self/fd/{handle}")).name, start, size))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return found


def files(folder: Path, *sizes: int) -> list[Path]:
    for number, size in enumerate(sizes):
        (folder / f"{number}.npy").write_bytes(b"x" * size)
    return [folder / f"{number}.npy" for number in range(len(sizes))]


def test_whole_files_in_order_as_far_as_memory_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, int, int]]
) -> None:
    monkeypatch.setattr(local, "_ADVISED_BYTES", 100)
    monkeypatch.setattr(local, "free_memory", lambda: 1000)
    thread = read_ahead([*files(tmp_path, 250, 400, 250), tmp_path / "missing"])
    assert thread is not None
    thread.join()
    assert asked == [("0.npy", n, 100) for n in (0, 100, 200)] + [("2.npy", n, 100) for n in (0, 100, 200)]


def test_where_memory_is_short_or_not_known_nothing_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, int, int]]
) -> None:
    for free in (0, 100):
        monkeypatch.setattr(local, "free_memory", lambda free=free: free)
        assert read_ahead(files(tmp_path, 51)) is None
    assert not asked


def test_a_file_system_that_cannot_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    thread = read_ahead(files(tmp_path, 10))
    assert thread is not None
    thread.join()
    assert not thread.is_alive()


def test_this_machine_says_what_is_free() -> None:
    assert 2**20 < local.free_memory() < 2**50


@pytest.mark.parametrize("bfloat16", [True, False])
def test_opening_a_bank_asks_for_what_a_search_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, int, int]], bfloat16: bool
) -> None:
    def read_now(paths: list[Path]) -> None:
        thread = read_ahead(paths)
        assert thread is not None
        thread.join()

    monkeypatch.setattr(search, "_SMALL_NUMBERS", 10)
    monkeypatch.setattr(search, "multiplies_bfloat16", lambda: bfloat16)
    monkeypatch.setattr("curator.captions.bank.read_ahead", read_now)
    facts = write_bank(open_storage(), str(tmp_path / "bank"), units(3000, 8))
    CaptionBank.open(str(tmp_path / "bank"), open_storage(), tmp_path / "cache").search(units(1, 8), 1)
    CaptionBank.open(str(tmp_path / "bank"), open_storage(), tmp_path / "cache")
    own = [facts.texts.name, facts.vectors.name]
    assert [name for name, _, _ in asked] == [*own, *(["bfloat16.npy"] if bfloat16 else []), *own]
