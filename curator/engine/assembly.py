"""One lease in a worker: its rows on the way from the reader to the sink, and where it stands.

Owns the hand-over between the lease's own thread (admits and takes) and the shared threads (settle); knows no file,
model or storage.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.data import ColumnSpec, ColumnValues, Lease, RowRecord, Rows
from curator.engine.blocks import Block

STAGES = ("read", "decode", "device", "label", "write")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a lease stands: the stage it was last seen in, the seconds since it last moved, and what is done of it."""

    shard_id: str
    url: str
    attempt: int
    stage: str
    rows: int
    idle_s: float
    device_s: float = 0.0


class AbandonedError(Exception):
    """Raised in the shared threads when they bring a row to a lease that has ended."""


class Assembly:
    """Rows of one lease. ``admit`` and ``take`` belong to the lease's thread, the other methods to any thread."""

    def __init__(self, lease: Lease, *, dim: int, columns: Sequence[ColumnSpec], block_rows: int) -> None:
        self.lease = lease
        self.reasons: Counter[str] = Counter()
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.admitted = 0
        self.captioned = 0
        self.several_images = 0
        self._dim = dim
        self._columns = columns
        self._block_rows = block_rows
        self._blocks: deque[Block] = deque()
        self._first = 0
        self._settled = 0
        self._closed = False
        self._fault: BaseException | None = None
        self._changed = threading.Condition()
        self._stage = "read"
        self._waits = False
        self._moved_at = time.monotonic()

    def standing(self, waits_for: str = "device") -> Standing:
        """Where the lease stands: in its own stage or, while it waits for the shared threads, in theirs."""
        shard = self.lease.shard
        idle_s = time.monotonic() - self._moved_at
        stage = waits_for if self._waits else self._stage
        device_s = self.seconds["device"]
        return Standing(shard.id, shard.url, self.lease.attempt, stage, self._settled, idle_s, device_s)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The lease's thread can do nothing before the shared threads have."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def move(self, stage: str) -> None:
        """Say that the lease moved: the watchdog counts from here."""
        self._stage = stage
        self._moved_at = time.monotonic()

    def spend(self, stage: str, seconds: float) -> None:
        with self._changed:
            self.seconds[stage] += seconds

    def admit(self) -> int:
        """Make room for the next row and return its index."""
        with self._changed:
            index = self.admitted
            if not self._blocks or len(self._blocks[-1].records) == self._block_rows:
                self._blocks.append(Block(index, self._block_rows, self._dim, self._columns))
            self._blocks[-1].records.append(None)
            self.admitted += 1
            return index

    def close(self) -> None:
        """No more rows will be admitted."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _block(self, index: int) -> Block:
        return self._blocks[index // self._block_rows - self._first]

    def settle_rejected(self, record: RowRecord) -> None:
        assert record.reject is not None
        with self._changed:
            self._refuse_if_over()
            self._block(record.index).settle_rejected(record)
            self.reasons[record.reject.reason] += 1
            self._settle(1)

    def settle_embedded(
        self,
        records: Sequence[RowRecord],
        vectors: NDArray[np.float32],
        annotations: Mapping[str, ColumnValues],
        picked: NDArray[np.int64],
    ) -> None:
        """Put rows ``picked`` of a batch in place; they may lie in several blocks. Their order follows ``records``."""
        with self._changed:
            self._refuse_if_over()
            numbers = np.fromiter((record.index // self._block_rows for record in records), np.int64, len(records))
            for number in np.unique(numbers).tolist():
                chosen = np.flatnonzero(numbers == number)
                block = self._blocks[number - self._first]
                block.settle_embedded([records[i] for i in chosen.tolist()], vectors, annotations, picked[chosen])
            self._settle(len(records))

    def _settle(self, n: int) -> None:
        self._settled += n
        self.move("label")
        self._changed.notify_all()

    def _refuse_if_over(self) -> None:
        if self._fault is not None:
            raise AbandonedError(self.lease.shard.url)

    @property
    def over(self) -> bool:
        return self._fault is not None

    def fail(self, fault: BaseException) -> None:
        """End the lease from outside: ``take`` raises ``fault`` and rows that still arrive are refused."""
        with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()

    def take(self, *, wait: bool) -> Rows | None:
        """The next block whose rows are all settled; None where there is none (yet, without ``wait``).

        With ``wait`` (after ``close``) it blocks until the block is whole: the deadline is the watchdog's, which ends
        a lease that does not move by ``fail``.
        """
        with self._changed:
            while True:
                if self._fault is not None:
                    raise self._fault
                if not self._blocks:
                    return None
                block = self._blocks[0]
                full = self._closed or len(block.records) == self._block_rows
                if full and block.settled == len(block.records):
                    self._blocks.popleft()
                    self._first += 1
                    break
                if not wait:
                    return None
                with self.waiting():
                    self._changed.wait(timeout=1.0)
        return block.take(self.lease.shard.url)
