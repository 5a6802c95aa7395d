"""Decoding on other nodes: CPU-only actors turn images into pixels and ship them through Ray's object store.

For clusters with too few cores beside each GPU. Looks like any decoder to the worker; knows no sample and no batch of
the device.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError

from curator.data import Decoded
from curator.errors import RetryableError, SampleError

Decode: TypeAlias = Callable[[bytes], Decoded]


class _DecodeActor:
    """One core's worth of decoding. A reject is a value, so that it costs its neighbours in the call nothing."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode

    def decode(self, images: Sequence[bytes]) -> list[Decoded | tuple[str, str]]:
        return [self._one(data) for data in images]

    def _one(self, data: bytes) -> Decoded | tuple[str, str]:
        try:
            return self._decode(data)
        except SampleError as error:
            return error.reason, error.message


@dataclass(eq=False, slots=True)
class _Member:
    handle: Any
    waiting: int = 0


class RayDecoder:
    """Calls itself like the ``decode`` it was given, and blocks the calling thread until the image is back.

    Calls of many threads travel together, up to ``together`` images in one message. An actor that dies is replaced
    and its images are sent again, once; after that the image's shard is tried again (RetryableError).
    """

    def __init__(
        self, decode: Decode, *, actors: int, num_cpus: float = 1.0, together: int = 8, deadline_s: float = 120.0
    ) -> None:
        self._decode = decode
        self._num_cpus = num_cpus
        self._together = together
        self._deadline_s = deadline_s
        self._queue: queue.SimpleQueue[tuple[bytes, Future[Any]] | None] = queue.SimpleQueue()
        self._members = [self._start() for _ in range(actors)]
        self._lock = threading.Lock()
        threading.Thread(target=self._dispatch, name="curator-remote-decode", daemon=True).start()

    def _start(self) -> _Member:
        options = {"num_cpus": self._num_cpus, "num_gpus": 0, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        return _Member(ray.remote(_DecodeActor).options(**options).remote(self._decode))

    def __call__(self, data: bytes) -> Decoded:
        for last in (False, True):
            future: Future[Any] = Future()
            self._queue.put((data, future))
            try:
                outcome = future.result(self._deadline_s)
            except FutureTimeoutError as error:
                raise RetryableError(f"a decode actor did not answer within {self._deadline_s:g} s") from error
            except RayError as error:
                if last:
                    raise RetryableError(f"a decode actor was lost twice over one image: {error}") from error
                continue
            if isinstance(outcome, Decoded):
                return outcome
            raise SampleError(*outcome)
        raise AssertionError

    def close(self) -> None:
        self._queue.put(None)
        for member in self._members:
            with contextlib.suppress(RayError):
                ray.kill(member.handle)

    def _dispatch(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < self._together and not self._queue.empty():
                entry = self._queue.get()
                if entry is None:
                    return
                batch.append(entry)
            self._send(batch)

    def _send(self, batch: list[tuple[bytes, Future[Any]]]) -> None:
        with self._lock:
            place = min(range(len(self._members)), key=lambda number: self._members[number].waiting)
            member = self._members[place]
            member.waiting += len(batch)
        try:
            reply = member.handle.decode.remote([data for data, _ in batch]).future()
        except RayError as error:
            self._failed(place, member, batch, error)
            return
        reply.add_done_callback(lambda done: self._receive(place, member, batch, done))

    def _receive(self, place: int, member: _Member, batch: list[tuple[bytes, Future[Any]]], done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            self._failed(place, member, batch, error)
            return
        with self._lock:
            member.waiting -= len(batch)
        for (_, future), outcome in zip(batch, done.result(), strict=True):
            future.set_result(outcome)

    def _failed(
        self, place: int, member: _Member, batch: list[tuple[bytes, Future[Any]]], error: BaseException
    ) -> None:
        with self._lock:
            if self._members[place] is member:
                self._members[place] = self._start()
        for _, future in batch:
            future.set_exception(error)


def threads_for(actors: int, together: int = 8) -> int:
    """Threads of the worker that keep ``actors`` busy: two messages' worth each, since a thread waits for its image."""
    return 2 * together * actors
