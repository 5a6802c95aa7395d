"""A storage that dies: the process's storage operations stop at a chosen one, before or after it took effect."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from curator.storage import Entry, ReadStream, Storage, Upload

T = TypeVar("T")


class Crash(BaseException):
    """Stands for the death of the process: nothing catches it on purpose, and nothing works after it."""


def _raise(name: str) -> None:
    raise Crash(name)


class CrashingStorage:
    """Counts operations; at number ``at`` the process dies ``before`` or after its effect: no later one is done.

    ``die`` is how: an exception here, a signal to itself in a process of its own.
    """

    def __init__(
        self, inner: Storage, at: int | None = None, *, before: bool = True, die: Callable[[str], None] = _raise
    ) -> None:
        self.inner = inner
        self.operations: list[str] = []
        self._at = at
        self._before = before
        self._die = die
        self._dead = False
        self._lock = threading.Lock()

    def _do(self, name: str, call: Callable[[], T]) -> T:
        with self._lock:
            if self._dead:
                raise Crash(name)
            mine = len(self.operations) == self._at
            self.operations.append(name)
            self._dead = mine
        if mine and self._before:
            self._die(name)
        try:
            result = call()
        except BaseException:
            if mine:  # an operation that fails (a file that is not there) can be a process's last one, too
                self._die(name)
            raise
        if mine:
            if name == "open":
                result.close()  # type: ignore[attr-defined] # as the system does with a dead process's files
            self._die(name)
        return result

    def list(self, prefix: str) -> Iterator[Entry]:
        return iter(self._do("list", lambda: list(self.inner.list(prefix))))

    def stat(self, url: str) -> Entry:
        return self._do("stat", lambda: self.inner.stat(url))

    def open(self, url: str, **options: Any) -> ReadStream:
        return self._do("open", lambda: self.inner.open(url, **options))

    def read(self, url: str) -> bytes:
        return self._do("read", lambda: self.inner.read(url))

    def write(self, url: str, data: bytes) -> Entry:
        return self._do("write", lambda: self.inner.write(url, data))

    def create(self, url: str, data: bytes) -> Entry:
        return self._do("create", lambda: self.inner.create(url, data))

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        return self._do("replace", lambda: self.inner.replace(url, data, etag=etag))

    def upload(self, url: str) -> Upload:
        return _CrashingUpload(self, self._do("upload", lambda: self.inner.upload(url)))

    def delete(self, url: str) -> None:
        self._do("delete", lambda: self.inner.delete(url))


class _CrashingUpload:
    def __init__(self, storage: CrashingStorage, inner: Upload) -> None:
        self._storage = storage
        self._inner = inner

    def write(self, data: bytes, /) -> int:
        return self._storage._do("upload.write", lambda: self._inner.write(data))

    def commit(self) -> Entry:
        return self._storage._do("upload.commit", self._inner.commit)

    def abort(self) -> None:
        if not self._storage._dead:
            self._inner.abort()
