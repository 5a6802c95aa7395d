"""Owns where a gazetteer (or another large file) is on this node: where it stands, a copy, what is to be sent away.

Knows nothing of what is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from curator.cache import cache_root, locked
from curator.errors import ConfigError
from curator.storage.base import Storage
from curator.storage.download import download

_FETCH_TIMEOUT_S = 3600.0
_BLOCK = 8 << 20


def local_copy(
    url: str,
    storage: Storage,
    *,
    cache_dir: str | Path | None = None,
    check: Callable[[Path], None] = lambda path: None,
) -> Path:
    """A path with the content of ``url``: itself, or a copy that is fetched once per version (ETag) and node.

    ``check`` looks at a copy that was just fetched, before it is kept, and raises what it finds wrong with it.
    """
    plain = url.removeprefix("file://")
    if "://" not in plain:
        return Path(plain)
    entry = storage.stat(url)
    name = hashlib.sha256(f"{url}\n{entry.etag}\n{entry.size}".encode()).hexdigest()
    path = cache_root(cache_dir) / "entities" / f"{name}{Path(plain).suffix}"
    if path.is_file():
        return path
    with locked(path.with_suffix(".lock"), timeout_s=_FETCH_TIMEOUT_S):
        if not path.is_file():
            download(storage, entry, path, check=lambda part, _: check(part))
    return path


@contextlib.contextmanager
def written(url: str, storage: Storage) -> Iterator[Path]:
    """A path to write to: the content is at ``url`` when the block has ended, in one step, and not if it fails.

    ConfigError, before the block begins, where a local ``url`` cannot be written.
    """
    plain = url.removeprefix("file://")
    if "://" not in plain:
        path = Path(plain)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{url}: cannot be written ({error}); choose another place") from error
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            what = "is a directory" if path.is_dir() else f"{path.parent} is not writable"
            raise ConfigError(f"{url}: cannot be written ({what}); choose another place")
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "content"
        yield path
        upload = storage.upload(url)
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    upload.write(block)
            upload.commit()
        finally:
            upload.abort()
