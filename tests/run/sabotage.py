"""Workers that die: a wrapper round the real worker that misbehaves on chosen shards, in ways that workers do."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.data import Lease, Receipt
from curator.engine.assembly import Standing


def _raise() -> None:
    raise ValueError("a fault that nobody foresaw")


def _memory() -> None:
    raise MemoryError


def _hang() -> None:
    while True:
        time.sleep(0.1)


WAYS = {
    "exception": _raise,
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(4),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSTOP": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "MemoryError": _memory,
    "hang": _hang,
}


@dataclass(frozen=True)
class Saboteur:
    """Builds the real worker and lets it fail at each shard (by name) of ``ways``: each time, or once.

    For once, ``once`` is a folder, in which each shard leaves its name when it fails. No shard is begun before the file
    ``gate`` exists.
    """

    plan: Callable[[], Any]
    ways: Mapping[str, str]
    once: Path | None = None
    gate: Path | None = None

    def act(self, shard: str) -> None:
        while self.gate is not None and not self.gate.exists():
            time.sleep(0.02)
        if shard not in self.ways:
            return
        if self.once is not None:
            self.once.mkdir(exist_ok=True)
            try:
                (self.once / shard).touch(exist_ok=False)
            except FileExistsError:
                return
        WAYS[self.ways[shard]]()

    def __call__(self) -> Any:
        return _Sabotaged(self.plan(), self)


class _Sabotaged:
    def __init__(self, worker: Any, fate: Saboteur) -> None:
        self._worker = worker
        self._fate = fate

    @property
    def provenance(self) -> Mapping[str, str]:
        return self._worker.provenance

    def process(self, lease: Lease) -> Receipt:
        self._fate.act(lease.shard.url.rsplit("/", 1)[-1])
        return self._worker.process(lease)

    def standings(self) -> list[Standing]:
        return self._worker.standings()

    def close(self) -> None:
        self._worker.close()
