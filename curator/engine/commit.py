"""The step that makes a shard done: its part is published, then its receipt is created. Knows no way to make rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from curator.data import Lease, Receipt
from curator.engine.ledger import Ledger, version_of
from curator.errors import ExistsError
from curator.storage import Entry
from curator.tables.sink import PartWriter

logger = logging.getLogger(__name__)


def make_done(
    ledger: Ledger,
    writer: PartWriter,
    lease: Lease,
    entry: Entry,
    *,
    samples: int,
    reasons: Mapping[str, int],
    seconds: Mapping[str, float],
    started: float,
    config_digest: str,
    salvaged: str | None = None,
    counters: Mapping[str, Mapping[str, int]] | None = None,
) -> Receipt:
    """Publish the part of ``writer`` and create the receipt, in this order, on which "done" rests.

    ``entry`` is what was read, ``samples`` how many came in: as many rows must have gone out. ``started`` is the
    ``time.perf_counter()`` of the lease.
    """
    if writer.rows != samples:
        raise RuntimeError(f"{lease.shard.url}: {samples} samples in, {writer.rows} rows out")
    write_started = time.perf_counter()
    part = writer.commit()
    return create_receipt(
        ledger, part, lease, entry,
        rows=samples, reasons=reasons, started=started, config_digest=config_digest, salvaged=salvaged,
        seconds={**seconds, "write": seconds["write"] + time.perf_counter() - write_started},
        counters=counters,
    )  # fmt: skip


def create_receipt(
    ledger: Ledger,
    part: Entry,
    lease: Lease,
    entry: Entry,
    *,
    rows: int,
    reasons: Mapping[str, int],
    seconds: Mapping[str, float],
    started: float,
    config_digest: str,
    salvaged: str | None = None,
    counters: Mapping[str, Mapping[str, int]] | None = None,
) -> Receipt:
    """Create the receipt of ``part``, which was published. Where another attempt was first, its receipt stands."""
    shard = lease.shard
    receipt = Receipt(
        shard_id=shard.id,
        url=shard.url,
        size=entry.size,
        etag=entry.etag,
        attempt=lease.attempt,
        samples=rows,
        rows=rows,
        rejected=sum(reasons.values()),
        reasons=dict(sorted(reasons.items())),
        part=part.url.rsplit("/", 1)[-1],
        part_bytes=part.size,
        seconds={stage: round(spent_s, 4) for stage, spent_s in seconds.items()},
        total_s=round(time.perf_counter() - started, 4),
        config_digest=config_digest,
        salvaged=salvaged,
        counters=counters or {},
    )
    try:
        ledger.create_receipt(receipt)
    except ExistsError:
        version = version_of(entry.size, entry.etag)
        logger.info("shard was done by another attempt url=%s version=%s", shard.url, version)
    return receipt
