"""One worker: shards in by lease, labelled Parquet parts and receipts out. The only place where the rooms meet.

A plain class: the Ray actor and the local backend both run this very object. It knows nothing of schedules, retries
or other workers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from curator.data import ColumnSpec, Lease, Receipt, Sample
from curator.engine.assembly import Assembly, Standing
from curator.engine.batcher import Annotator, ImageEncoder
from curator.engine.commit import make_done
from curator.engine.decoding import DecodePool
from curator.engine.intake import Intake, WorkerSettings
from curator.engine.ledger import Ledger
from curator.errors import RetryableError
from curator.shards.reader import read_samples
from curator.storage import Entry, Storage
from curator.storage.resume import resuming
from curator.storage.urls import is_remote
from curator.tables.readers import part_url
from curator.tables.sink import PartWriter

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


class ShardWorker:
    """``process`` may be called from several threads at once: their images share the device's batches."""

    def __init__(
        self,
        *,
        storage: Storage,
        output: str,
        pool: DecodePool,
        encoder: ImageEncoder,
        heads: Sequence[Annotator],
        columns: Sequence[ColumnSpec],
        schema: pa.Schema,
        provenance: Mapping[str, str],
        settings: WorkerSettings,
    ) -> None:
        self._storage = storage
        self._ledger = Ledger(storage, output)
        self._output = output
        self._dim = encoder.dim
        self._columns = columns
        self._schema = schema
        self.provenance = provenance
        self._settings = settings
        self._intake = Intake(pool, encoder, heads, settings)
        self._assemblies: dict[int, Assembly] = {}
        self._lock = threading.Lock()
        _warm_up()

    def standings(self) -> list[Standing]:
        """Where every lease stands, for the watchdog."""
        with self._lock:
            return [assembly.standing(self._intake.stage) for assembly in self._assemblies.values()]

    def close(self) -> None:
        """End every lease, then the threads. Nothing half-written stays."""
        with self._lock:
            assemblies = list(self._assemblies.values())
        for assembly in assemblies:
            assembly.fail(RetryableError("the worker was closed"))
        self._intake.close()

    def process(self, lease: Lease) -> Receipt:
        """Label one shard and make it done: part, then receipt. Raises a verdict; then neither of the two exists."""
        started = time.perf_counter()
        assembly = Assembly(lease, dim=self._dim, columns=self._columns, block_rows=self._settings.block_rows)
        with self._lock:
            self._assemblies[id(assembly)] = assembly
        try:
            entry = self._storage.stat(lease.shard.url)
            writer = PartWriter(
                self._storage,
                part_url(self._output, lease.shard.id),
                self._schema,
                footer={**self.provenance, "shard_url": lease.shard.url},
                row_group_rows=self._settings.row_group_rows,
            )
            try:
                salvaged = self._fill(assembly, entry, writer)
                return make_done(
                    self._ledger, writer, lease, entry,
                    samples=assembly.admitted, reasons=assembly.reasons, seconds=assembly.seconds, started=started,
                    config_digest=self.provenance["config_digest"], salvaged=salvaged,
                    counters={"samples": {"captioned": assembly.captioned, "several_images": assembly.several_images}},
                )  # fmt: skip
            except BaseException:
                writer.abort()
                raise
        except BaseException as error:
            assembly.fail(error)
            raise
        finally:
            with self._lock:
                del self._assemblies[id(assembly)]

    def _fill(self, assembly: Assembly, entry: Entry, writer: PartWriter) -> str | None:
        """Read, decode, embed and label every sample into ``writer``. Returns what was salvaged of a cut shard."""
        settings = self._settings
        ahead = settings.read_ahead_parts if is_remote(entry.url) else 0
        stream = resuming(
            self._storage,
            entry,
            attempts=settings.read_attempts,
            read_ahead_parts=ahead,
            part_bytes=settings.read_ahead_bytes,
        )
        with contextlib.closing(stream):
            reader = read_samples(
                stream,
                url=entry.url,
                salvage=settings.salvage,
                image=settings.image,
                max_member_bytes=settings.max_member_bytes,
            )
            for sample in self._timed(assembly, reader):
                self._intake.admit(assembly, sample)
                self._write_ready(assembly, writer, wait=False)
        assembly.several_images = reader.several_images
        assembly.close()
        self._write_ready(assembly, writer, wait=True)
        return reader.salvaged

    def _timed(self, assembly: Assembly, samples: Iterator[Sample]) -> Iterator[Sample]:
        while True:
            started = time.perf_counter()
            try:
                sample = next(samples)
            except StopIteration:
                return
            finally:
                assembly.spend("read", time.perf_counter() - started)
            assembly.move("read")
            yield sample

    def _write_ready(self, assembly: Assembly, writer: PartWriter, *, wait: bool) -> None:
        while (rows := assembly.take(wait=wait)) is not None:
            started = time.perf_counter()
            assembly.captioned += sum(bool(record.caption) for record in rows.records)
            writer.write(rows)
            assembly.spend("write", time.perf_counter() - started)
            assembly.move("write")


def _warm_up() -> None:
    """Do what the first shard would, holding up every thread: Arrow looks for pandas and loads it."""
    import pyarrow as pa

    pa.array([None])
