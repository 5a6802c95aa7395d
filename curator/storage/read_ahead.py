"""Parts of one object fetched in parallel and delivered in order. Owns threads and bounded memory; knows no storage."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from curator.errors import RetryableError

# (first byte, byte after the last, whether nobody waits any more) -> the bytes
Fetch: TypeAlias = Callable[[int, int, Callable[[], bool]], bytes]
_LOOK_S = 1.0


class ReadAheadStream:
    """Bytes [start, end) of ``name``, of which at most ``parts`` parts of ``part_bytes`` are in memory or on the way.

    The first error of a part is raised where its bytes are due, and by every later read. Threads are daemons, started
    by the first read; each ends with the part it is at once the stream is closed.
    """

    def __init__(self, fetch: Fetch, name: str, start: int, end: int, *, part_bytes: int, parts: int) -> None:
        self._fetch = fetch
        self._name = name
        self._bounds = [(at, min(at + part_bytes, end)) for at in range(start, end, part_bytes)]
        self._parts = parts
        self._changed = threading.Condition()
        self._claimed = 0
        self._due = 0
        self._released = 0
        self._arrived: dict[int, bytes | Exception] = {}
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._current = memoryview(b"")
        self._error: Exception | None = None

    def read(self, size: int = -1, /) -> bytes:
        """Exactly ``size`` bytes while they last; all that are left where it is negative."""
        pieces: list[memoryview] = []
        gathered = 0
        while size < 0 or gathered < size:
            if not self._current and not self._advance():
                break
            taken = self._current if size < 0 else self._current[: size - gathered]
            self._current = self._current[len(taken) :]
            gathered += len(taken)
            pieces.append(taken)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._arrived.clear()
            self._changed.notify_all()
        self._current = memoryview(b"")

    def _advance(self) -> bool:
        """Make the next part current; False after the last one."""
        if self._error is not None:
            raise self._error
        if self._closed:
            raise ValueError(f"{self._name}: read of a closed stream")
        if self._due >= len(self._bounds):
            return False
        self._start_threads()
        with self._changed:
            # the part before has been read to its end: there is room for another
            self._released = self._due
            self._changed.notify_all()
            while self._due not in self._arrived:
                if not any(thread.is_alive() for thread in self._threads):
                    raise RetryableError(f"{self._name}: the threads that read ahead have died")
                self._changed.wait(_LOOK_S)
            part = self._arrived.pop(self._due)
            self._due += 1
        if isinstance(part, Exception):
            self._error = part
            self.close()
            raise part
        self._current = memoryview(part)
        return True

    def _start_threads(self) -> None:
        if not self._threads:
            for number in range(min(self._parts, len(self._bounds))):
                name = f"read-ahead-{number}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            for thread in self._threads:
                thread.start()

    def _work(self) -> None:
        while (index := self._claim()) is not None:
            part: bytes | Exception
            try:
                part = self._fetch(*self._bounds[index], lambda: self._closed)
            except Exception as error:
                part = error
            with self._changed:
                if self._closed:
                    return
                self._arrived[index] = part
                self._changed.notify_all()

    def _claim(self) -> int | None:
        """The next part to fetch, once there is room for it; None when none is left or the stream is closed."""
        with self._changed:
            while not self._closed and self._claimed < len(self._bounds):
                if self._claimed - self._released < self._parts:
                    self._claimed += 1
                    return self._claimed - 1
                self._changed.wait(_LOOK_S)
        return None
