"""Owns a seekable, read-only file over ranged reads of one stored object. Knows nothing of what the bytes mean."""

from __future__ import annotations

import io
import time

from curator.errors import RetryableError
from curator.storage.base import Entry, Storage

_ATTEMPTS = 4
_FIRST_WAIT_S = 0.25


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
        data = bytearray()
        attempt = 1
        while len(data) < wanted:
            before = len(data)
            try:
                self._read_into(data, wanted)
            except RetryableError:
                if len(data) > before:
                    attempt = 1
                elif attempt == _ATTEMPTS:
                    raise
                time.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
                attempt += 1
        self._position += wanted
        return bytes(data)

    def _read_into(self, data: bytearray, wanted: int) -> None:
        start = self._position + len(data)
        stream = self._storage.open(self._entry.url, offset=start, length=wanted - len(data), etag=self._entry.etag)
        try:
            while len(data) < wanted:
                chunk = stream.read(wanted - len(data))
                if not chunk:
                    raise RetryableError(
                        f"{self._entry.url}: ended at byte {self._position + len(data)} of {self._entry.size}"
                    )
                data += chunk
        finally:
            stream.close()

    def close(self) -> None:
        self.closed = True
