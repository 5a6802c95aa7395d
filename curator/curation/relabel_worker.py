"""One worker of a relabelling run: parts in by lease, the same rows with other labels out. Reads no image.

A plain class with the protocol of the main job's worker, so that the same fleets drive it. It knows nothing of
schedules, retries or other workers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from curator.curation.leases import LeasedWorker, OpenLease
from curator.data import ColumnSpec, ColumnValues, Embeddings, Labels, Lease, Receipt
from curator.engine.batcher import Annotator
from curator.engine.commit import make_done
from curator.engine.ledger import Ledger
from curator.errors import ShardError
from curator.kernels.vectors import l2_normalize
from curator.storage import Storage
from curator.tables.columns import ColumnBuilder
from curator.tables.readers import Part, part_url, vectors
from curator.tables.schema import EMBEDDING, STATUS_OK, change_columns, field_kind
from curator.tables.sink import PartWriter

if TYPE_CHECKING:
    from torch import Tensor

_SET_KEYS = ("vocabulary_digest.", "head_digest.", "made_by.")


@dataclass(frozen=True, slots=True)
class RelabelSettings:
    """The numbers and names of a relabelling worker. ``batch_rows`` rows at a time go through the heads.

    ``further`` maps further encoders whose embeddings are labelled, too, to their digests.
    """

    source: str
    output: str
    encoder_digest: str
    label_sets: tuple[str, ...]
    further: Mapping[str, str] = field(default_factory=dict)
    batch_rows: int = 4096
    row_group_rows: int = 8192


class RelabelWorker(LeasedWorker):
    """``process`` may be called from several threads at once: while one reads or writes, another has the heads."""

    def __init__(
        self,
        *,
        storage: Storage,
        device: torch.device,
        heads: Sequence[Annotator],
        columns: Sequence[ColumnSpec],
        provenance: Mapping[str, str],
        settings: RelabelSettings,
    ) -> None:
        super().__init__("read", "device", "label", "write")
        self.provenance = provenance
        self._storage = storage
        self._ledger = Ledger(storage, settings.output)
        self._device = device
        self._heads = heads
        self._columns = columns
        self._settings = settings
        self._head_lock = threading.Lock()

    def process(self, lease: Lease) -> Receipt:
        """Label the rows of one part and make it done: part, then receipt. Raises a verdict; then neither exists."""
        started = time.perf_counter()
        with self._leases.open(lease) as progress:
            entry = self._storage.stat(part_url(self._settings.source, lease.shard.id))
            with Part(entry, self._storage) as part:
                self._check(part, lease)
                schema = change_columns(part.schema, self._replaced(part), self._columns)
                writer = PartWriter(
                    self._storage,
                    part_url(self._settings.output, lease.shard.id),
                    schema,
                    footer=self._footer(part),
                    row_group_rows=self._settings.row_group_rows,
                )
                try:
                    self._fill(part, writer, schema, progress)
                    return make_done(
                        self._ledger, writer, lease, entry,
                        samples=part.rows, reasons=progress.counts, seconds=progress.seconds, started=started,
                        config_digest=self.provenance["config_digest"],
                    )  # fmt: skip
                except BaseException:
                    writer.abort()
                    raise

    def _check(self, part: Part, lease: Lease) -> None:
        found = part.footer.get("encoder_digest")
        if found != self._settings.encoder_digest:
            raise ShardError(
                f"{part.url}: its embeddings are of encoder {part.footer.get('encoder')} ({found}), not of the run's "
                f"({self._settings.encoder_digest}); label its shard again"
            )
        for name, digest in self._settings.further.items():
            if part.footer.get(f"encoder_digest.{name}") != digest:
                raise ShardError(f"{part.url}: its {name}_embedding is not of the run's encoder; label its shard again")
        if part.footer.get("shard_url") != lease.shard.url:
            raise ShardError(f"{part.url}: is the part of {part.footer.get('shard_url')}, not of {lease.shard.url}")

    def _replaced(self, part: Part) -> list[str]:
        """The part's columns that belong to a label set which is made anew."""
        sets = [key.partition(".")[2] for key in part.footer if key.startswith("head_digest.")]
        sets.sort(key=len, reverse=True)  # a column belongs to the set with the longest name that begins its own
        replaced = []
        for column in part.schema:
            owner = next((name for name in sets if column.name == name or column.name.startswith(f"{name}_")), None)
            if field_kind(column) and owner in self._settings.label_sets:
                replaced.append(column.name)
        return replaced

    def _footer(self, part: Part) -> dict[str, str]:
        """The source's provenance, in which the new label sets stand for those they replace."""
        gone = {f"{key}{name}" for key in _SET_KEYS for name in self._settings.label_sets}
        kept = {key: value for key, value in part.footer.items() if key not in gone}
        history = {"source": self._settings.source, "source_config_digest": part.footer["config_digest"]}
        return {**kept, **history, **self.provenance}

    def _fill(self, part: Part, writer: PartWriter, schema: pa.Schema, progress: OpenLease) -> None:
        builder = ColumnBuilder(schema)
        for batch in part.batches(batch_rows=self._settings.batch_rows):
            self._leases.check(progress)
            progress.passed("read")
            progress.counts.update(batch.column("reason").drop_null().to_pylist())
            writer.append(self._relabelled(batch, schema, builder, progress))
            progress.rows += batch.num_rows
            progress.passed("write")

    def _relabelled(
        self, batch: pa.RecordBatch, schema: pa.Schema, builder: ColumnBuilder, progress: OpenLease
    ) -> pa.RecordBatch:
        """The batch with every head's columns in place of what stood there, null where a row is rejected."""
        ok = np.asarray(pc.equal(batch.column("status"), STATUS_OK).to_numpy(zero_copy_only=False), np.bool_)
        made: dict[str, ColumnValues] = {}
        if ok.any():
            unit = self._vectors(batch, ok)
            progress.passed("device")
            places = np.flatnonzero(ok)
            captions = batch.column("caption").take(pa.array(places)).to_pylist()
            metadata = batch.column("metadata").take(pa.array(places)).to_pylist()
            width, height = (batch.column(name).take(pa.array(places)).to_pylist() for name in ("width", "height"))
            further = {name: self._vectors(batch, ok, f"{name}_embedding") for name in self._settings.further}
            sizes = list(zip(width, height, strict=True))
            embeddings = Embeddings(unit, captions, metadata, sizes, further=further)
            with self._head_lock:
                for head in self._heads:
                    made.update(head(embeddings))
            picked = np.maximum(np.cumsum(ok) - 1, 0)
            made = {name: _spread(values, picked, ok) for name, values in made.items()}
        new = {column.name for column in self._columns}
        arrays = [
            (builder.head(column, made[column.name], ok) if made else pa.nulls(len(ok), column.type))
            if column.name in new
            else batch.column(column.name)
            for column in schema
        ]
        progress.passed("label")
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _vectors(self, batch: pa.RecordBatch, ok: NDArray[np.bool_], column: str = EMBEDDING) -> Tensor:
        """The embeddings of the rows that are ok, float32 of unit norm, on the device."""
        stored = torch.from_numpy(np.ascontiguousarray(vectors(batch, column)[ok]))
        # What was rounded to float16 is of unit norm no more; what was stored in float32 is as the encoder gave it.
        unit = l2_normalize(stored) if stored.dtype == torch.float16 else stored
        return unit.to(self._device)


def _spread(values: ColumnValues, picked: NDArray[np.int64], ok: NDArray[np.bool_]) -> ColumnValues:
    """Values of the rows that are ok as values of all rows; what stands in the others is not looked at."""
    if isinstance(values, Labels):
        return replace(
            values,
            indices=values.indices[picked],
            scores=values.scores[picked],
            counts=np.where(ok, values.counts[picked], 0),
        )
    if isinstance(values, np.ndarray):
        return values[picked]
    return [values[row] for row in picked.tolist()]
