"""The storage contract: what every backend must do. Owns the protocol and its value objects, and knows no scheme."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object. ``size`` in bytes; ``etag`` changes whenever the content does."""

    url: str
    size: int
    etag: str


class ReadStream(Protocol):
    """Bytes of one object from some offset on. Reading past the end gives ``b""``."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class Upload(Protocol):
    """An object being written: invisible until ``commit``, and gone without a trace after ``abort``."""

    def write(self, data: bytes, /) -> int: ...

    def commit(self) -> Entry:
        """Publish the whole object at its url in one step, replacing what stood there."""
        ...

    def abort(self) -> None:
        """Discard everything written. Harmless after ``commit`` and when called twice."""
        ...


class Storage(Protocol):
    """Objects by url. Implementations translate foreign exceptions into the verdicts of ``curator.errors``.

    A missing object is ``NotFoundError``, a denied one ``ForbiddenError``, one that changed since ``etag`` was taken
    ``ReplacedError``, anything that may pass ``RetryableError``. Every call has a deadline. Implementations are
    thread-safe, and can be pickled (connections are made on first use).
    """

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object whose url begins with ``prefix``, in order of url, in constant memory."""
        ...

    def stat(self, url: str) -> Entry: ...

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        """A stream of ``length`` bytes (None: all) from byte ``offset`` on; what lies past the end is not there.

        With ``etag``, ``ReplacedError`` if the object is no longer that one.
        """
        ...

    def read(self, url: str) -> bytes:
        """The whole of a small object."""
        ...

    def write(self, url: str, data: bytes) -> Entry:
        """Replace a small object in one step."""
        ...

    def create(self, url: str, data: bytes) -> Entry:
        """Write a small object exclusively: ``ExistsError`` where the name is taken, whoever took it."""
        ...

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        """Replace a small object only while it still is ``etag``, else ``ReplacedError``. Locks are built on it."""
        ...

    def upload(self, url: str) -> Upload:
        """Begin writing a large object."""
        ...

    def delete(self, url: str) -> None:
        """Remove an object; a missing one is no error."""
        ...
