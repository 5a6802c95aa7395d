"""Streams that survive faults of storage: same bytes, once each, in order. Owns positions; knows no backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from curator.errors import CuratorError, RetryableError
from curator.storage.backoff import Backoff
from curator.storage.base import Entry, ReadStream, Storage
from curator.storage.read_ahead import ReadAheadStream

_READ_BYTES = 1024 * 1024
_TOTAL_FACTOR = 20


def resuming(
    storage: Storage,
    entry: Entry,
    *,
    offset: int = 0,
    end: int | None = None,
    attempts: int = 5,
    backoff: Backoff | None = None,
    read_ahead_parts: int = 0,
    part_bytes: int = 16 * 1024 * 1024,
) -> ReadStream:
    """The bytes of ``entry`` from ``offset`` to ``end`` (its size), reopened after each fault at the byte that is due.

    A fault is a RetryableError or an end that comes too early. ``attempts`` faults in a row without a byte between
    them, or 20 times as many in all, end in RetryableError. Every reopening asks for ``entry.etag``, so that an object
    replaced under the reader is ReplacedError and never a mixture. ``backoff`` gives other waits (its attempts win).

    With ``read_ahead_parts`` > 0 and more than one part to read, that many parts of ``part_bytes`` are fetched in
    parallel and held in memory at most.
    """
    policy, end = backoff or Backoff(attempts=attempts), entry.size if end is None else end
    if read_ahead_parts > 0 and end - offset > part_bytes:

        def fetch(start: int, end: int, cancelled: Callable[[], bool]) -> bytes:
            return _fetch(_ResumingStream(storage, entry, start, end, policy), cancelled)

        return ReadAheadStream(fetch, entry.url, offset, end, part_bytes=part_bytes, parts=read_ahead_parts)
    return _ResumingStream(storage, entry, offset, end, policy)


class _ResumingStream:
    """Bytes [position, end) of ``entry``; ``read(n)`` gives exactly n while they last."""

    def __init__(self, storage: Storage, entry: Entry, position: int, end: int, backoff: Backoff) -> None:
        self._storage = storage
        self._entry = entry
        self._position = position
        self._end = end
        self._backoff = backoff
        self._stream: ReadStream | None = None
        self._in_a_row = 0
        self._in_all = 0

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._position
        wanted = left if size < 0 else min(size, left)
        data = self._piece(wanted) if wanted > 0 else b""
        if len(data) >= wanted:
            return data
        gathered = bytearray(data)
        while len(gathered) < wanted:
            gathered += self._piece(wanted - len(gathered))
        return bytes(gathered)

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(CuratorError):
                stream.close()

    def _piece(self, wanted: int) -> bytes:
        """At least one byte and at most ``wanted``, through as many faults as the policy allows."""
        while True:
            try:
                if self._stream is None:
                    self._stream = self._open()
                data = self._stream.read(wanted)
                if not data:
                    raise RetryableError(f"{self._entry.url}: the body ended at byte {self._position} of {self._end}")
            except RetryableError as error:
                self._fail(error)
                continue
            self._in_a_row = 0
            self._position += len(data)
            if self._position >= self._end:
                self.close()
            return data

    def _open(self) -> ReadStream:
        whole = self._end == self._entry.size
        length = None if whole else self._end - self._position
        return self._storage.open(self._entry.url, offset=self._position, length=length, etag=self._entry.etag)

    def _fail(self, error: RetryableError) -> None:
        self.close()
        self._in_a_row += 1
        self._in_all += 1
        attempts = self._backoff.attempts
        if self._in_a_row >= attempts or self._in_all >= attempts * _TOTAL_FACTOR:
            raise RetryableError(
                f"{self._entry.url}: gave up at byte {self._position} of {self._entry.size} "
                f"after {self._in_all} faults, the last one: {error}"
            ) from error
        self._backoff.pause(self._in_a_row, f"{self._entry.url}@{self._position}", error)


def _fetch(stream: _ResumingStream, cancelled: Callable[[], bool]) -> bytes:
    """All of ``stream``, or what there is when ``cancelled`` says that nobody waits for it any more."""
    gathered = bytearray()
    try:
        while not cancelled():
            data = stream.read(_READ_BYTES)
            if not data:
                break
            gathered += data
    finally:
        stream.close()
    return bytes(gathered)
