"""Owns where a gazetteer (or another large file) is on this node: where it stands, or a copy in the cache.

Knows nothing of what is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from curator.cache import cache_root, locked
from curator.storage.base import Storage
from curator.storage.download import download

_FETCH_TIMEOUT_S = 3600.0


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
