"""Owns a seekable, read-only file over ranged reads of one stored object. Knows nothing of what the bytes mean."""

from __future__ import annotations

import contextlib
import io

from curator.storage.backoff import Backoff
from curator.storage.base import Entry, Storage
from curator.storage.resume import resuming

_BACKOFF = Backoff(attempts=4, base_s=0.25)


class RangedFile:
    """What Arrow needs of a file, where every ``read`` is one ranged read pinned to the object's etag.

    A fault that may pass (also a body that is too short) is tried again from where it happened; after the last attempt
    its ``RetryableError`` goes to the caller. ``ReplacedError`` where the object is no longer the one of ``entry``.
    """

    def __init__(self, storage: Storage, entry: Entry) -> None:
        self._storage = storage
        self._entry = entry
        self._position = 0
        self.closed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def size(self) -> int:
        return self._entry.size

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._entry.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._entry.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        end = self._position + wanted
        stream = resuming(self._storage, self._entry, offset=self._position, end=end, backoff=_BACKOFF)
        with contextlib.closing(stream):
            data = stream.read(wanted)
        self._position = end
        return data

    def close(self) -> None:
        self.closed = True
