"""How far a run has come, as values: sums over receipts, and what an observer is told. Decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curator.data import Receipt
from curator.engine.fleet import News
from curator.engine.scheduler import Quarantine


@dataclass(slots=True)
class Totals:
    """Sums over receipts."""

    shards: int = 0
    samples: int = 0
    rows: int = 0
    rejected: int = 0
    part_bytes: int = 0
    salvaged: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        self.shards += 1
        self.samples += receipt.samples
        self.rows += receipt.rows
        self.rejected += receipt.rejected
        self.part_bytes += receipt.part_bytes
        self.salvaged += receipt.salvaged is not None
        self.reasons.update(receipt.reasons)
        for stage, seconds in receipt.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def to_dict(self) -> dict[str, Any]:
        return {
            "shards": self.shards,
            "samples": self.samples,
            "rows": self.rows,
            "rejected": self.rejected,
            "part_bytes": self.part_bytes,
            "salvaged": self.salvaged,
            "reasons": dict(sorted(self.reasons.items())),
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }


@dataclass(slots=True)
class Progress:
    """What an observer may show after each piece of news: this run's totals and where the shards are.

    ``working_s`` counts from the first worker's readiness, ``elapsed_s`` from the start of the run.
    """

    shards: int
    settled: int
    quarantined: int
    totals: Totals
    elapsed_s: float
    working_s: float
    fleet: Mapping[str, Any]
    news: News | Quarantine | None
