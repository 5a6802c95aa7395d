"""Images to decode and what became of them, and threads that decode, each image under a time limit.

What decoding is comes in as a callable. Decoders release the interpreter lock while they work, but take it back often:
threads do for one or two at a time, for more see ``decode_processes``. A thread that never returns cannot be stopped,
only left behind and replaced, and is counted.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from curator.data import Decoded, Reject
from curator.errors import SampleError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image: its pixels, why it is rejected, or an error that nobody foresaw. ``seconds`` of work."""

    sha256: bytes
    result: Decoded | Reject | BaseException
    seconds: float


@dataclass(eq=False, slots=True)
class Job:
    """One image to decode. ``settle`` is called once, from a thread of the pool."""

    data: bytes
    settle: Callable[[Outcome], None]
    deaths: int = 0


class DecodePool(Protocol):
    """Decodes images beside each other. The owner bounds what it submits."""

    @property
    def slots(self) -> int:
        """How many images are decoded at a time."""
        ...

    @property
    def under_way(self) -> int:
        """How many images it takes to keep the pool busy."""
        ...

    def submit(self, job: Job) -> None: ...

    def close(self) -> None: ...


def decode_one(decode: Callable[[bytes], Decoded], data: bytes) -> Outcome:
    started = time.perf_counter()
    digest = hashlib.sha256(data).digest()
    try:
        result: Decoded | Reject | BaseException = decode(data)
    except SampleError as error:
        result = Reject(error.reason, error.message)
    except BaseException as error:
        result = error
    return Outcome(digest, result, time.perf_counter() - started)


def late(job: Job, limit_s: float) -> Outcome:
    """The outcome of an image whose time has run out."""
    reject = Reject("decode_timeout", f"not decoded within {limit_s:g} s")
    return Outcome(hashlib.sha256(job.data).digest(), reject, limit_s)


def settle(job: Job, outcome: Outcome) -> None:
    """Jobs answer for their own errors; should one not, the pool must not shrink until nothing decodes any more."""
    try:
        job.settle(outcome)
    except BaseException:
        logger.exception("the outcome of a decoded image was not taken")


class DecodeThreads:
    """``threads`` threads over one queue. ``left_behind`` counts those that are stuck."""

    def __init__(self, decode: Callable[[bytes], Decoded], *, threads: int, limit_s: float) -> None:
        self._decode = decode
        self._limit_s = limit_s
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._running: dict[threading.Thread, tuple[Job, float] | None] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.left_behind = 0
        self.slots = threads
        for _ in range(threads):
            self._start_thread()
        self._clock = threading.Thread(target=self._watch, name="curator-decode-clock", daemon=True)
        self._clock.start()

    @property
    def under_way(self) -> int:
        return 4 * self.slots

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        self._closed.set()
        for _ in range(self.slots):
            self._jobs.put(None)
        close = getattr(self._decode, "close", None)  # a decoder on remote actors holds them
        if close is not None:
            close()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._loop, name="curator-decode", daemon=True)
        with self._lock:
            self._running[thread] = None
        thread.start()

    def _loop(self) -> None:
        me = threading.current_thread()
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._running[me] = (job, time.monotonic())
            outcome = decode_one(self._decode, job.data)
            with self._lock:
                if me not in self._running:  # left behind, and replaced, while it was stuck
                    return
                self._running[me] = None
            settle(job, outcome)

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._limit_s / 4)):
            now = time.monotonic()
            with self._lock:
                stuck = {
                    thread: at[0]
                    for thread, at in self._running.items()
                    if at is not None and now - at[1] > self._limit_s
                }
                for thread in stuck:
                    del self._running[thread]
            for job in stuck.values():
                self.left_behind += 1
                logger.warning("decode thread left behind after %.0f s (%d so far)", self._limit_s, self.left_behind)
                self._start_thread()
                settle(job, late(job, self._limit_s))
