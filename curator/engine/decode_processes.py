"""Decoding in processes of its own: a slot for each, with a thread that sends it images and takes what became of them.

A process that hangs is killed, one that dies is replaced, and both cost the one image that they were at. Knows neither
samples nor how a process comes to be.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence

from curator.data import Reject
from curator.engine.decode_messages import TOGETHER, TOGETHER_BYTES, WINDOWS, from_json, send_images
from curator.engine.decode_nursery import DecodeProcess, Nursery, NurseryError
from curator.engine.decoding import Job, Outcome, late, settle
from curator.errors import RetryableError

logger = logging.getLogger(__name__)

_IDLE_DEATHS = 5
"""Deaths in a row between images, so that none of them is to blame, before the images of a message are given up."""


class _Slot:
    """A process and what was sent to it. ``again`` are messages that the process before it did not answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: DecodeProcess | None = None
        self.sent: deque[tuple[int, list[Job]]] = deque()
        self.again: deque[list[Job]] = deque()
        self.messages = 0
        self.idle_deaths = 0


class DecodeProcesses:
    """``slots`` processes over one queue of jobs. An image that takes longer than ``limit_s`` is a reject.

    An image whose process died is tried once more, alone; then it is a reject ``decoder_crashed``.
    """

    def __init__(self, nursery: Nursery, *, slots: int, limit_s: float) -> None:
        """Raises NurseryError where the nursery gives no processes; it is closed with the pool, or then."""
        self._nursery = nursery
        try:
            nursery.ready()
        except NurseryError:
            nursery.close()
            raise
        self._limit_s = limit_s
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._slots = [_Slot(f"curator-decode-{number}") for number in range(slots)]
        for slot in self._slots:
            threading.Thread(target=self._loop, args=(slot,), name=slot.name, daemon=True).start()
        threading.Thread(target=self._watch, name="curator-decode-clock", daemon=True).start()

    @property
    def slots(self) -> int:
        return len(self._slots)

    @property
    def under_way(self) -> int:
        return WINDOWS * TOGETHER * len(self._slots)

    @property
    def nursery_pid(self) -> int:
        return self._nursery.pid

    @property
    def pids(self) -> list[int]:
        return [slot.process.pid for slot in self._slots if slot.process]

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        """End the processes. Images that still wait fail with their leases, which are over."""
        self._closed.set()
        for _ in self._slots:
            self._jobs.put(None)
        with self._lock:
            self._nursery.close()

    def _loop(self, slot: _Slot) -> None:
        with contextlib.suppress(NurseryError):  # so that it is there for the first image, which else is told of it
            slot.process = self._spawn()
        while not self._closed.is_set():
            try:
                jobs = self._next(slot)
                if jobs:
                    self._send(slot, jobs)
                if not jobs or slot.again or len(slot.sent) == WINDOWS:
                    self._receive(slot)
            except Exception as error:  # the line is broken, or what came over it makes no sense
                self._recover(slot, error)
        if slot.process:
            slot.process.line.close()
        gone = RetryableError("the worker was closed")
        self._give_up([job for jobs in (*(sent for _, sent in slot.sent), *slot.again) for job in jobs], gone)
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                self._give_up([job], gone)

    def _next(self, slot: _Slot) -> list[Job]:
        """Images for the next message: a fair share of those that wait. None of them where an answer is due."""
        if slot.again:
            return [] if slot.sent else slot.again.popleft()
        jobs: list[Job] = []
        share, size = min(TOGETHER, -(-self._jobs.qsize() // len(self._slots))), 0
        while not jobs or (len(jobs) < share and size < TOGETHER_BYTES):
            try:
                job = self._jobs.get(block=not (jobs or slot.sent))
            except queue.Empty:
                break
            if job is None:
                break
            jobs.append(job)
            size += len(job.data)
        return jobs

    def _send(self, slot: _Slot, jobs: list[Job]) -> None:
        slot.messages += 1
        slot.sent.append((slot.messages, jobs))
        if slot.process is None:
            slot.process = self._spawn()
        send_images(slot.process.line, slot.messages, [job.data for job in jobs])

    def _receive(self, slot: _Slot) -> None:
        if not slot.sent:
            return
        assert slot.process is not None
        answer = slot.process.answers.next()
        number, jobs = slot.sent[0]
        pixels = slot.process.board.pixels[number % WINDOWS, : len(jobs)].copy()
        outcomes = [from_json(each, picture) for each, picture in zip(answer, pixels, strict=True)]
        slot.sent.popleft()
        slot.idle_deaths = 0
        for job, outcome in zip(jobs, outcomes, strict=True):
            settle(job, outcome)

    def _spawn(self) -> DecodeProcess:
        """A process of the nursery, or of a new one where that is gone. Raises NurseryError."""
        with self._lock:
            try:
                return self._nursery.spawn()
            except NurseryError as error:
                if self._closed.is_set():
                    raise
                logger.warning("%s; starting the decode processes anew", error)
                self._nursery = self._nursery.again()
                return self._nursery.spawn()

    def _end(self, process: DecodeProcess) -> str:
        try:
            return self._nursery.end(process) or "with its parent"
        except NurseryError:
            return "with its parent"

    def _recover(self, slot: _Slot, error: BaseException) -> None:
        """The process is gone. Settle the image that is to blame, or try it alone; send the others again."""
        if self._closed.is_set():
            return
        process, slot.process = slot.process, None
        cause, blamed, overdue = str(error), None, False
        if process is not None:
            cause = self._end(process)
            process.line.close()
            standing = process.board.standing()
            overdue = process.late is not None
            blamed = process.late or (standing[1:] if standing else None)
        guilty = next((jobs[blamed[1]] for number, jobs in slot.sent if blamed and number == blamed[0]), None)
        slot.again.extendleft(
            [job for job in jobs if job is not guilty] for _, jobs in reversed(slot.sent) if jobs != [guilty]
        )
        slot.sent.clear()
        if guilty is None:
            slot.idle_deaths += 1
            logger.warning("a decode process ended between images (%s)", cause)
        elif overdue:
            logger.warning("a decode process was killed: one image took more than %g s", self._limit_s)
            settle(guilty, late(guilty, self._limit_s))
        else:
            self._suspect(slot, guilty, cause)
        if slot.idle_deaths >= _IDLE_DEATHS:
            slot.idle_deaths = 0
            images = [job for jobs in slot.again for job in jobs]
            slot.again.clear()
            self._give_up(images, RetryableError(f"decode processes end before they decode anything: {cause}"))

    def _suspect(self, slot: _Slot, guilty: Job, cause: str) -> None:
        guilty.deaths += 1
        if guilty.deaths == 1:
            logger.warning("a decode process died of an image (%s): it is tried once more", cause)
            slot.again.append([guilty])
            return
        logger.warning("a decode process died of an image again (%s): the image is rejected", cause)
        reject = Reject("decoder_crashed", f"the decoder died of it twice: {cause}")
        settle(guilty, Outcome(hashlib.sha256(guilty.data).digest(), reject, 0.0))

    def _give_up(self, jobs: Sequence[Job], error: Exception) -> None:
        for job in jobs:
            settle(job, Outcome(b"", error, 0.0))

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._limit_s / 4)):
            for slot in self._slots:
                process = slot.process
                standing = process.board.standing() if process else None
                if process and standing and time.monotonic() - standing[0] > self._limit_s and not process.late:
                    process.late = standing[1:]
                    self._end(process)
