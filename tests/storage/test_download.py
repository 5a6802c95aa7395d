"""A whole object becomes a file of this node, or nothing does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from curator.errors import ConfigError, ReplacedError
from curator.storage import MemoryStorage
from curator.storage.base import Entry, ReadStream
from curator.storage.download import download

DATA = bytes(range(256)) * 1000


class Breaking(MemoryStorage):
    """The first stream of an object breaks off in the middle."""

    broken = False

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        if not self.broken:
            self.broken, length = True, len(DATA) // 2
        return super().open(url, offset=offset, length=length, etag=etag)


def put(storage: MemoryStorage) -> Entry:
    return storage.write("memory://download/object", DATA)


def test_the_file_is_whole_though_the_stream_breaks(tmp_path: Path) -> None:
    storage, seen = Breaking(), []

    def check(part: Path, sha256: str) -> None:
        seen.append((part.read_bytes() == DATA, sha256))

    download(storage, put(storage), tmp_path / "new" / "file", check=check)
    assert storage.broken
    assert (tmp_path / "new" / "file").read_bytes() == DATA
    assert seen == [(True, hashlib.sha256(DATA).hexdigest())]


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    storage = MemoryStorage()

    def refuse(part: Path, sha256: str) -> None:
        raise ConfigError("not this one")

    with pytest.raises(ConfigError, match="not this one"):
        download(storage, put(storage), tmp_path / "file", check=refuse)
    assert list(tmp_path.iterdir()) == []
    entry = put(storage)
    storage.write("memory://download/object", DATA[:10])
    with pytest.raises(ReplacedError):
        download(storage, entry, tmp_path / "file", check=lambda part, sha256: None)
    assert list(tmp_path.iterdir()) == []
