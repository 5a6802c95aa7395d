"""How far a run has come and how it ended, as values: totals, progress, summary. Decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curator.data import Receipt
from curator.engine.assembly import Standing
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
    read_bytes: int = 0
    salvaged: int = 0
    captioned: int = 0
    several_images: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        self.shards += 1
        self.samples += receipt.samples
        self.rows += receipt.rows
        self.rejected += receipt.rejected
        self.part_bytes += receipt.part_bytes
        self.read_bytes += receipt.size or 0
        self.salvaged += receipt.salvaged is not None
        samples = receipt.counters.get("samples", {})
        self.captioned += samples.get("captioned", 0)
        self.several_images += samples.get("several_images", 0)
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
            "read_bytes": self.read_bytes,
            "salvaged": self.salvaged,
            "captioned": self.captioned,
            "several_images": self.several_images,
            "reasons": dict(sorted(self.reasons.items())),
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }


@dataclass(slots=True)
class Progress:
    """What an observer may show after each piece of news: this run's totals and where the shards are.

    ``working_s`` counts from the first worker's readiness, ``elapsed_s`` from the start of the run. ``queued`` shards
    wait for a worker, ``attempts`` leases were given out; ``standings`` are those of the last heartbeat, by worker.
    """

    shards: int
    settled: int
    quarantined: int
    totals: Totals
    elapsed_s: float
    working_s: float
    fleet: Mapping[str, Any]
    news: News | Quarantine | None
    queued: int = 0
    attempts: int = 0
    standings: Mapping[str, Sequence[Standing]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended. ``totals`` are over every receipt of the output, ``this_run`` over those made now.

    ``startup_s`` and ``first_shard_s`` count from the start of the run to the first worker's readiness and to the first
    shard's end; None where there was neither.

    ``run_id`` is the name that whoever started it gave it, ``ended`` when it did (UTC, ISO 8601).

    ``status``: complete | over_budget | stopped | fleet_lost; ``exit_status`` as the process should give it.
    """

    output: str
    status: str
    exit_status: int
    message: str
    shards: Mapping[str, int]
    totals: Mapping[str, Any]
    this_run: Mapping[str, Any]
    elapsed_s: float
    config_digest: str
    startup_s: float | None = None
    first_shard_s: float | None = None
    run_id: str | None = None
    ended: str | None = None
    quarantined: Sequence[Mapping[str, str]] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "status": self.status,
            "exit_status": self.exit_status,
            "message": self.message,
            "shards": dict(self.shards),
            "totals": dict(self.totals),
            "this_run": dict(self.this_run),
            "elapsed_s": round(self.elapsed_s, 3),
            "startup_s": self.startup_s,
            "first_shard_s": self.first_shard_s,
            "config_digest": self.config_digest,
            "run_id": self.run_id,
            "ended": self.ended,
            "quarantined": [dict(letter) for letter in self.quarantined],
        }
