"""Threads that turn image bytes into pixels, each image under a time limit.

Owns the pool and its clock; what decoding is comes in as a callable. Decoders release the interpreter lock while they
work, so threads scale; one that never returns cannot be stopped, only left behind and replaced, and is counted.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Job:
    """One image to decode. ``work`` does everything; ``late`` is called instead of its end when time runs out.

    ``claim`` decides the race between the two: whoever gets it first may settle the row.
    """

    work: Callable[[Job], None]
    late: Callable[[float], None]
    started_at: float | None = None
    _claimed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        with self._lock:
            claimed, self._claimed = not self._claimed, True
            return claimed


class DecodePool:
    """``threads`` workers over one queue. The owner bounds what it submits; ``left_behind`` counts stuck threads."""

    def __init__(self, threads: int, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._running: dict[threading.Thread, Job | None] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.left_behind = 0
        self._size = threads
        for _ in range(threads):
            self._start_thread()
        self._clock = threading.Thread(target=self._watch, name="curator-decode-clock", daemon=True)
        self._clock.start()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        self._closed.set()
        for _ in range(self._size):
            self._jobs.put(None)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._loop, name="curator-decode", daemon=True)
        with self._lock:
            self._running[thread] = None
        thread.start()

    def _loop(self) -> None:
        me = threading.current_thread()
        while (job := self._jobs.get()) is not None:
            job.started_at = time.monotonic()
            with self._lock:
                self._running[me] = job
            try:
                job.work(job)
            except BaseException:  # the job has to answer for its errors; the pool must not shrink by them
                logger.exception("decode job failed")
            with self._lock:
                if me not in self._running:  # left behind, and replaced, while it was stuck
                    return
                self._running[me] = None

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._limit_s / 4)):
            now = time.monotonic()
            with self._lock:
                late = [
                    (thread, job)
                    for thread, job in self._running.items()
                    if job is not None and job.started_at is not None and now - job.started_at > self._limit_s
                ]
                stuck = [(thread, job) for thread, job in late if job.claim()]
                for thread, _ in stuck:
                    del self._running[thread]
            for _, job in stuck:
                self.left_behind += 1
                logger.warning("decode thread left behind after %.0f s (%d so far)", self._limit_s, self.left_behind)
                self._start_thread()
                job.late(self._limit_s)
