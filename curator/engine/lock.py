"""One driver per output: a lock file with a heartbeat, fenced by conditional writes.

Owns the protocol on ``_ledger/lock.json`` and knows nothing of runs. Whoever loses the lock learns it at its next beat.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from curator.errors import ConfigError, CuratorError, ExistsError, ForbiddenError, NotFoundError, ReplacedError
from curator.storage import Entry, Storage, join

logger = logging.getLogger(__name__)

_FIELDS = ("owner", "host", "machine", "pid", "started", "beat", "ttl_s")


class RunLock:
    """Held as a context manager. ``lost`` is set when another driver has taken the lock over.

    Where nothing was written while it was held, no directory is left that it has made.
    """

    def __init__(
        self,
        storage: Storage,
        ledger_root: str,
        *,
        ttl_s: float = 60.0,
        run_id: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._url = join(ledger_root, "lock.json")
        self._ttl_s = ttl_s
        self._run_id = run_id
        self._clock = clock
        self._owner = uuid.uuid4().hex
        self._etag = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_loop, name="curator-lock", daemon=True)
        self._sweep: Callable[[], None] = lambda: None
        self.lost = threading.Event()

    def __enter__(self) -> RunLock:
        sweeper = getattr(self._storage, "sweeper", None)  # of storages that make directories on the way
        if sweeper is not None:
            self._sweep = sweeper(self._url)
        try:
            self._acquire()
        except (NotFoundError, ForbiddenError) as error:
            self._sweep()
            raise ConfigError(f"the output cannot be written: {error}; choose another directory or prefix") from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._ttl_s)
        if not self.lost.is_set():
            with contextlib.suppress(CuratorError):
                self._beat()  # fails where another driver has the lock by now: its lock must stay
                self._storage.delete(self._url)
                self._sweep()

    def _content(self) -> bytes:
        return json.dumps(
            {
                "owner": self._owner,
                "host": socket.gethostname(),
                "machine": _machine(),
                "pid": os.getpid(),
                "started": psutil.Process().create_time(),
                "beat": self._clock(),
                "ttl_s": self._ttl_s,
                "run_id": self._run_id,
            }
        ).encode()

    def _acquire(self) -> None:
        for _ in range(2):  # the second time when the lock was given back between the two looks
            try:
                self._etag = self._storage.create(self._url, self._content()).etag
            except ExistsError:
                with contextlib.suppress(NotFoundError):
                    return self._take_over()
            else:
                return None
        raise ConfigError(f"{self._url}: other drivers come and go on this output; let one run")

    def _take_over(self) -> None:
        """Replace a stale lock; ConfigError while its owner lives, ``NotFoundError`` where it has gone."""
        entry, holder = self._read()
        if holder["owner"] == self._owner:  # our own create, repeated by the storage after its answer was lost
            self._etag = entry.etag
            return
        age_s = max(0.0, self._clock() - holder["beat"])
        if not _is_dead(holder) and age_s < holder["ttl_s"]:
            raise ConfigError(
                f"{self._url}: another driver (host {holder['host']}, pid {holder['pid']}) works on this output, last "
                f"heard of {age_s:.0f} s ago; stop it, or wait {holder['ttl_s'] - age_s:.0f} s after its last sign"
            )
        logger.warning("taking over the stale lock of host %s, pid %s (%s)", holder["host"], holder["pid"], self._url)
        try:
            self._etag = self._storage.replace(self._url, self._content(), etag=entry.etag).etag
        except (ReplacedError, NotFoundError) as error:
            raise ConfigError(f"{self._url}: another driver took the stale lock first; let it run") from error

    def _read(self) -> tuple[Entry, dict[str, Any]]:
        return self._storage.stat(self._url), _holder(self._storage, self._url)

    def _beat(self) -> None:
        """Renew the lock. ``ReplacedError`` or ``NotFoundError`` where it is no longer ours."""
        try:
            self._etag = self._storage.replace(self._url, self._content(), etag=self._etag).etag
        except ReplacedError:
            entry, holder = self._read()
            if holder["owner"] != self._owner:
                raise
            self._etag = entry.etag  # our own beat, repeated by the storage after its answer was lost

    def _beat_loop(self) -> None:
        while not self._stop.wait(self._ttl_s / 4):
            try:
                self._beat()
            except (ReplacedError, NotFoundError):
                logger.error("the lock was taken over by another driver (%s)", self._url)
                self.lost.set()
                return
            except CuratorError as error:
                logger.warning("heartbeat not written, will try again: %s", error)


@dataclass(frozen=True, slots=True)
class Holder:
    """The driver that a lock names. ``alive`` is False where it has ended or not been heard of for its ``ttl_s``."""

    host: str
    pid: int
    run_id: str | None
    age_s: float
    ttl_s: float
    alive: bool


def holder_of(storage: Storage, ledger_root: str, *, clock: Callable[[], float] = time.time) -> Holder | None:
    """Who holds the lock of an output; None where nobody does. Reads, and takes nothing."""
    url = join(ledger_root, "lock.json")
    try:
        found = _holder(storage, url)
    except NotFoundError:
        return None
    age_s = clock() - found["beat"]
    alive = age_s < found["ttl_s"] and not _is_dead(found)
    return Holder(found["host"], found["pid"], found.get("run_id"), age_s, found["ttl_s"], alive)


def _holder(storage: Storage, url: str) -> dict[str, Any]:
    """What the lock at ``url`` says. ConfigError where it says something else than locks do."""
    try:
        found = json.loads(storage.read(url))
        return {**found, **{name: found[name] for name in _FIELDS}}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{url}: is no lock of Curator; delete it if no driver runs here") from error


def _machine() -> str:
    """What tells whose process ids these are: containers may share a host name, and a host boots again."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this machine that has ended (a reused pid has another start time)."""
    if holder["machine"] != _machine():
        return False
    try:
        process = psutil.Process(int(holder["pid"]))
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - holder["started"]) > 1.0
    except psutil.NoSuchProcess:
        return True
