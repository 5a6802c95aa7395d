"""Storage in this process's memory, in named spaces (``memory://space/key``). Keeps nothing that outlives it."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterator

from curator.errors import ConfigError, ExistsError, NotFoundError, ReplacedError
from curator.storage.base import Entry, ReadStream, Upload

_SCHEME = "memory://"
_lock = threading.Lock()
_spaces: dict[str, dict[str, tuple[bytes, str]]] = {}
_versions = itertools.count(1)


class MemoryStorage:
    """Objects of this process. Every instance sees the same spaces, so that it can be pickled to itself in tests."""

    def list(self, prefix: str) -> Iterator[Entry]:
        space, _, start = _split(prefix)
        with _lock:
            names = [space] if "/" in prefix[len(_SCHEME) :] else [name for name in _spaces if name.startswith(space)]
            entries = [
                Entry(f"{_SCHEME}{name}/{key}", len(data), etag)
                for name in names
                for key, (data, etag) in _spaces.get(name, {}).items()
                if key.startswith(start)
            ]
        yield from sorted(entries, key=lambda entry: entry.url)

    def stat(self, url: str) -> Entry:
        data, etag = self._get(url)
        return Entry(url, len(data), etag)

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        data, current = self._get(url)
        if etag is not None and etag != current:
            raise ReplacedError(f"{url}: is no longer {etag}, but {current}; it was replaced while being read")
        return io.BytesIO(data[offset:] if length is None else data[offset : offset + length])

    def read(self, url: str) -> bytes:
        return self._get(url)[0]

    def write(self, url: str, data: bytes) -> Entry:
        with _lock:
            return self._put(url, data)

    def create(self, url: str, data: bytes) -> Entry:
        space, _, key = _split(url)
        with _lock:
            if key in _spaces.get(space, {}):
                raise ExistsError(f"{url}: exists already")
            return self._put(url, data)

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        space, _, key = _split(url)
        with _lock:
            current = _spaces.get(space, {}).get(key)
            if current is None:
                raise NotFoundError(f"{url}: does not exist")
            if current[1] != etag:
                raise ReplacedError(f"{url}: is no longer {etag}, but {current[1]}")
            return self._put(url, data)

    def upload(self, url: str) -> Upload:
        _named(url)
        return _MemoryUpload(self, url)

    def delete(self, url: str) -> None:
        space, _, key = _split(url)
        with _lock:
            _spaces.get(space, {}).pop(key, None)

    def _get(self, url: str) -> tuple[bytes, str]:
        space, _, key = _split(url)
        with _lock:
            found = _spaces.get(space, {}).get(key)
        if found is None:
            raise NotFoundError(f"{url}: does not exist")
        return found

    def _put(self, url: str, data: bytes) -> Entry:
        space, key = _named(url)
        etag = f"{next(_versions):x}"
        _spaces.setdefault(space, {})[key] = (bytes(data), etag)
        return Entry(url, len(data), etag)


class _MemoryUpload:
    def __init__(self, storage: MemoryStorage, url: str) -> None:
        self._storage = storage
        self._url = url
        self._buffer = io.BytesIO()

    def write(self, data: bytes, /) -> int:
        return self._buffer.write(data)

    def commit(self) -> Entry:
        entry = self._storage.write(self._url, self._buffer.getvalue())
        self._buffer.close()
        return entry

    def abort(self) -> None:
        self._buffer.close()


def _split(url: str) -> tuple[str, str, str]:
    if not url.startswith(_SCHEME):
        raise ConfigError(f"{url}: not a memory url; give memory://space/key")
    return url[len(_SCHEME) :].partition("/")


def _named(url: str) -> tuple[str, str]:
    space, _, key = _split(url)
    if not space or not key:
        raise ConfigError(f"{url}: names no object; give memory://space/key")
    return space, key
