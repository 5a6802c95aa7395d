"""Workers that wait: behind a gate from one shard on, or for good. Knows no fault and no cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.data import Lease, Receipt
from curator.engine.assembly import Standing


@dataclass(frozen=True)
class Paced:
    """Builds the real worker. Shards whose name is a number from ``from_shard`` on wait until the file ``gate`` is."""

    plan: Callable[[], Any]
    gate: Path
    from_shard: int = 0

    def __call__(self) -> Any:
        return _PacedWorker(self.plan(), self)


class _PacedWorker:
    def __init__(self, worker: Any, pace: Paced) -> None:
        self._worker = worker
        self._pace = pace

    @property
    def provenance(self) -> Mapping[str, str]:
        return self._worker.provenance

    def process(self, lease: Lease) -> Receipt:
        if int(Path(lease.shard.url).stem) >= self._pace.from_shard:
            while not self._pace.gate.exists():
                time.sleep(0.02)
        return self._worker.process(lease)

    def standings(self) -> list[Standing]:
        return self._worker.standings()

    def close(self) -> None:
        self._worker.close()


class Idle:
    """Builds itself in no time, and ends no lease before it is closed."""

    def __init__(self) -> None:
        self.provenance: Mapping[str, str] = {}
        self._closed = False

    def process(self, lease: Lease) -> Receipt:
        while not self._closed:
            time.sleep(0.02)
        raise RuntimeError("closed")

    def standings(self) -> list[Standing]:
        return []

    def close(self) -> None:
        self._closed = True
