"""One worker of a bank's build: captions of a lease in, a part of their texts and unit vectors out.

A plain class with the protocol of the main job's worker, so that the same fleets drive it. It knows nothing of
schedules, retries or other workers, and of the bank only its part.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from curator.annotators import TextEncoder
from curator.captions.facts import normalise, text_key
from curator.curation.bank_sources import Reading, captions, file_of
from curator.curation.bank_text import KINDS, Unusable
from curator.curation.leases import LeasedWorker, OpenLease
from curator.data import Lease, Receipt
from curator.engine.commit import make_done
from curator.engine.ledger import Ledger
from curator.storage import Entry, Storage
from curator.tables.readers import part_url
from curator.tables.schema import EMBEDDING, SCHEMA_VERSION, VERSION_KEY
from curator.tables.sink import PartWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class BankWorkerSettings:
    """Where parts go and how captions are found. ``batch_size`` texts go through the encoder at a time.

    ``lanes`` leases have the encoder at the same time, with ``lane_threads`` of torch's threads each: on a CPU one
    thread for each, since threads of one forward wait for each other more than texts of this size are worth. One
    thread also adds up in one order, so that vectors do not depend on the machine's cores.
    """

    output: str
    reading: Reading
    batch_size: int = 256
    lanes: int = 1
    lane_threads: int | None = None


def part_schema(dim: int) -> pa.Schema:
    """The columns of a part: the caption, normalised, its vector, and its place among those that the lease kept."""
    return pa.schema(
        [
            pa.field("index", pa.int64(), nullable=False),
            pa.field("caption", pa.string(), nullable=False),
            pa.field(EMBEDDING, pa.list_(pa.field("element", pa.float16(), nullable=False), dim), nullable=False),
        ],
        metadata={VERSION_KEY: str(SCHEMA_VERSION)},
    )


class BankWorker(LeasedWorker):
    """``process`` may be called from several threads at once: while some read or write, others have the encoder."""

    def __init__(
        self, *, storage: Storage, encoder: TextEncoder, provenance: Mapping[str, str], settings: BankWorkerSettings
    ) -> None:
        super().__init__("read", "device", "write")
        self.provenance = provenance
        self._storage = storage
        self._encoder = encoder
        self._settings = settings
        self._schema = part_schema(encoder.dim)
        self._ledger = Ledger(storage, settings.output)
        self._lanes = threading.BoundedSemaphore(settings.lanes)

    def process(self, lease: Lease) -> Receipt:
        """Embed a lease's captions and make it done: part, then receipt. Raises a verdict; then neither exists."""
        started = time.perf_counter()
        with self._leases.open(lease) as progress:
            progress.counts.update(dict.fromkeys(("read", "empty", "duplicate", *KINDS), 0))
            first: dict[str, int] = {}
            entry = self._storage.stat(file_of(lease.shard.url))
            writer = PartWriter(
                self._storage,
                part_url(self._settings.output, lease.shard.id),
                self._schema,
                footer={**self.provenance, "shard_url": lease.shard.url},
            )
            try:
                self._fill(entry, writer, progress, first)
                return make_done(
                    self._ledger, writer, lease, entry,
                    samples=writer.rows, reasons={}, seconds=progress.seconds, started=started,
                    config_digest=self.provenance["config_digest"],
                    counters={"captions": dict(progress.counts), "first": first},
                )  # fmt: skip
            except BaseException:
                writer.abort()
                raise

    def _fill(self, entry: Entry, writer: PartWriter, progress: OpenLease, first: dict[str, int]) -> None:
        texts = self._kept(entry, progress, first)
        while block := list(islice(texts, _BLOCK_TEXTS)):
            self._leases.check(progress)
            progress.passed("read")
            with self._lanes:
                vectors = self._embed(block)
            progress.passed("device")
            index = np.arange(progress.rows, progress.rows + len(block))
            values = pa.array(vectors.reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(values, type=self._schema.field(EMBEDDING).type)
            writer.append(pa.record_batch([pa.array(index), pa.array(block), column], schema=self._schema))
            progress.rows += len(block)
            progress.passed("write")

    def _kept(self, entry: Entry, progress: OpenLease, first: dict[str, int]) -> Iterator[str]:
        """The lease's captions, normalised, without empty ones and those that it had before.

        ``first`` gets the number, from 1, of the first caption of each kind that is unusable.
        """
        seen: set[bytes] = set()
        for given in captions(progress.lease.shard.url, entry, self._storage, self._settings.reading):
            progress.counts["read"] += 1
            if isinstance(given, Unusable):
                progress.counts[given.kind] += 1
                first.setdefault(given.kind, progress.counts["read"])
                continue
            text = normalise(given or "")
            key = text_key(text)
            if not text:
                progress.counts["empty"] += 1
            elif key in seen:
                progress.counts["duplicate"] += 1
            else:
                seen.add(key)
                yield text

    def _embed(self, texts: list[str]) -> NDArray[np.float16]:
        """Unit vectors float16 [n, dim]. Texts of one length go together: a batch is as long as its longest."""
        if self._settings.lane_threads is not None:
            torch.set_num_threads(self._settings.lane_threads)
        order = sorted(range(len(texts)), key=lambda place: (len(texts[place]), place))
        vectors = np.empty((len(texts), self._encoder.dim), np.float16)
        size = self._settings.batch_size
        for start in range(0, len(order), size):
            places = order[start : start + size]
            found = self._encoder.embed_text([texts[place] for place in places])
            vectors[places] = found.cpu().numpy().astype(np.float16)
        return vectors
