"""One Storage over many: dispatches each url to its scheme's backend. Owns the allow-list, and no connection itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from curator.errors import ConfigError
from curator.storage.base import Entry, ReadStream, Storage, Upload
from curator.storage.local import LocalStorage
from curator.storage.memory import MemoryStorage
from curator.storage.options import StorageOptions
from curator.storage.urls import scheme_of


class Router:
    """A Storage for every allowed scheme. Backends are made on first use and travel with it when it is pickled."""

    def __init__(self, options: StorageOptions) -> None:
        self.options = options
        self._backends: dict[str, Storage] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "backends": dict(self._backends)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.options = state["options"]
        self._backends = state["backends"]
        self._lock = threading.Lock()

    def backend(self, url: str) -> Storage:
        """The backend of ``url``. Raises ConfigError for a scheme that is unknown, not allowed or not installed."""
        scheme = scheme_of(url)
        with self._lock:
            found = self._backends.get(scheme)
            if found is None:
                if scheme not in self.options.schemes:
                    raise ConfigError(
                        f"{scheme}:// urls are not allowed here; allowed schemes: {', '.join(self.options.schemes)} "
                        "(those beyond file, s3, http and memory need: pip install 'curator[fsspec]')"
                    )
                found = self._backends[scheme] = _build(scheme, self.options)
            return found

    def list(self, prefix: str) -> Iterator[Entry]:
        return self.backend(prefix).list(prefix)

    def stat(self, url: str) -> Entry:
        return self.backend(url).stat(url)

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        return self.backend(url).open(url, offset=offset, length=length, etag=etag)

    def read(self, url: str) -> bytes:
        return self.backend(url).read(url)

    def write(self, url: str, data: bytes) -> Entry:
        return self.backend(url).write(url, data)

    def create(self, url: str, data: bytes) -> Entry:
        return self.backend(url).create(url, data)

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        return self.backend(url).replace(url, data, etag=etag)

    def upload(self, url: str) -> Upload:
        return self.backend(url).upload(url)

    def delete(self, url: str) -> None:
        self.backend(url).delete(url)

    def sweeper(self, url: str) -> Callable[[], None]:
        """What removes the empty directories that writing ``url`` will have made; nothing where there are none."""
        backend = self.backend(url)
        return backend.sweeper(url) if isinstance(backend, LocalStorage) else lambda: None

    def check_conditional_writes(self, url_prefix: str) -> bool:
        """Whether ``create`` and ``replace`` below ``url_prefix`` are atomic; probes the endpoint where that is open.

        The answer is kept, travels to the workers with the storage, and chooses the backend's documented fallback.
        """
        backend = self.backend(url_prefix)
        if isinstance(backend, (LocalStorage, MemoryStorage)):
            return True
        check = getattr(backend, "check_conditional_writes", None)
        return bool(check(url_prefix)) if check is not None else False


def _build(scheme: str, options: StorageOptions) -> Storage:
    if scheme == "file":
        return LocalStorage()
    if scheme == "memory":
        return MemoryStorage()
    if scheme == "s3":
        from curator.storage.s3 import S3Storage

        return S3Storage(options)
    if scheme in ("http", "https"):
        from curator.storage.http import HttpStorage

        return HttpStorage(options)
    from curator.storage.filesystems import FsspecStorage

    return FsspecStorage(scheme, options)
