"""Owns a bank's files on this node: where they lie, and bringing a remote bank here once. Knows no vector."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from curator.cache import cache_root, locked
from curator.captions.facts import BankFacts, BankFile, bank_url
from curator.errors import ConfigError, RetryableError
from curator.storage.base import Storage
from curator.storage.download import download
from curator.storage.urls import join, redact, scheme_of

logger = logging.getLogger(__name__)

_TIMEOUT_S = 6 * 3600.0
_ADVISED_BYTES = 2**17  # at a time: of more, Linux reads only so much as one request of the disk may have
_MEMORY_SHARE = 0.5


def bank_cache(facts: BankFacts, cache_dir: str | Path | None) -> Path:
    """Where what belongs to a bank with these vectors is kept on this node."""
    return cache_root(cache_dir) / "captions" / facts.vectors.sha256[:32]


def localise(url: str, facts: BankFacts, storage: Storage, cache_dir: str | Path | None) -> dict[str, Path]:
    """Name -> path of every file of the bank, which is downloaded into the cache first where it is remote.

    Of several processes that need one bank, the first downloads it and the others wait. ConfigError where a file is
    missing or is not the one that ``bank.json`` tells of.
    """
    place = bank_url(url)
    if scheme_of(place) == "file":
        folder = Path(place.removeprefix("file://"))
        for file in facts.files:
            path = folder / file.name
            size = path.stat().st_size if path.is_file() else None
            if size != file.size:
                found = "is missing" if size is None else f"has {size} bytes, not {file.size}"
                raise ConfigError(f"{path}: {found}; run the same `curator bank build` again")
        return {file.name: folder / file.name for file in facts.files}
    target = bank_cache(facts, cache_dir)
    paths = {file.name: target / file.name for file in facts.files}
    if not all(_whole(paths[file.name], file) for file in facts.files):
        with locked(target / "download.lock", timeout_s=_TIMEOUT_S):
            for file in facts.files:
                if not _whole(paths[file.name], file):
                    _download(join(place, file.name), file, storage, paths[file.name])
    return paths


def _whole(path: Path, file: BankFile) -> bool:
    """Files appear here by renaming, so that the size tells a whole one."""
    try:
        return path.stat().st_size == file.size
    except OSError:
        return False


def _download(url: str, file: BankFile, storage: Storage, path: Path) -> None:
    def check(_: Path, sha256: str) -> None:
        if sha256 != file.sha256:
            raise RetryableError(f"{redact(url)}: its content is not what bank.json tells of; a build may be under way")

    download(storage, storage.stat(url), path, check=check)


def read_ahead(paths: Sequence[Path]) -> threading.Thread | None:
    """Ask the system, in the background, to bring whole files into its cache, one after the other.

    Rows that are read here and there wait for the disk one by one; a file in a row comes as fast as the disk gives it.
    Files that together are more than half of the free memory are left to be read as they are needed, the last first:
    they would drive each other out. What is in the cache already costs next to nothing. None where there is nothing to
    do, or no system that can be asked.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    room, wanted = _MEMORY_SHARE * free_memory(), []
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError:
            continue
        if size <= room:
            room -= size
            wanted.append(path)
    if not wanted:
        return None
    thread = threading.Thread(target=_fetch, args=(wanted,), name="curator-read-ahead", daemon=True)
    thread.start()
    return thread


def _fetch(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            with path.open("rb") as file:
                for start in range(0, path.stat().st_size, _ADVISED_BYTES):
                    os.posix_fadvise(file.fileno(), start, _ADVISED_BYTES, os.POSIX_FADV_WILLNEED)
        except OSError as error:  # a file system that cannot; whoever needs the pages reads them
            logger.debug("%s: not read ahead (%s)", path, error)


def free_memory() -> int:
    """Bytes that this machine could still give, its cache among them; 0 where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return 0
