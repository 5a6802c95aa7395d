"""The device's batches: decoded images of all leases in, embedded and annotated rows out.

Owns the threads that keep the device busy (forward of one batch overlaps the heads of the one before) and knows
neither files nor which model or heads they are.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from curator.data import ColumnValues, Decoded, Embeddings, RowRecord
from curator.engine.assembly import AbandonedError, Assembly
from curator.engine.staging import Event, Staging

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


class ImageEncoder(Protocol):
    """What the engine needs of an encoder."""

    @property
    def dim(self) -> int: ...

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> float32 [B, D] of unit norm, on the device."""
        ...

    def embed_dense(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and float32 [B, h, w, D] of the patches. Called only where an annotator needs these."""
        ...


class Annotator(Protocol):
    """What the engine needs of a head: a function from embedded images to named columns."""

    def __call__(self, embeddings: Embeddings) -> Mapping[str, ColumnValues]: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """One decoded image on its way to the device. ``record`` is its finished row without vector and annotations."""

    assembly: Assembly
    record: RowRecord
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class _Launched:
    """A batch that the device works on, or has worked on where it keeps step with the host (``done`` is None)."""

    batch: list[Slot]
    vectors: Tensor
    patches: Tensor | None
    done: Event | None
    started_at: float
    launched_at: float


class DeviceBatcher:
    """Fills batches across shard borders. A partial batch runs when nothing more has come for ``linger_s``.

    ``lanes`` batches are on the device at the same time. On a CPU that is the better way to use its cores: the threads
    of one forward wait for each other at every operator, and beside decoding threads most of that time is lost.
    ``lane_threads`` are torch's threads in each. With ``patches`` the heads also get the embeddings of places.

    ``release`` is called once for every slot that has left, whatever became of it: the owner's bound on what waits.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        heads: Sequence[Annotator],
        *,
        batch_size: int,
        release: Callable[[], None],
        staging: Staging | None = None,
        linger_s: float = 0.02,
        lanes: int = 1,
        lane_threads: int | None = None,
        patches: bool = False,
    ) -> None:
        self._encoder = encoder
        self._heads = heads
        self._batch_size = batch_size
        self._release = release
        self._linger_s = linger_s
        self._lanes = lanes
        self._lane_threads = lane_threads
        self._patches = patches
        self._filling = threading.Lock()
        # What waits in slots is bounded by the owner; the other bound keeps the heads from falling behind the device.
        self._slots: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        self._embedded: queue.Queue[_Launched | None] = queue.Queue(maxsize=2)
        stagings = [staging or Staging(batch_size) for _ in range(lanes)]
        self._threads = [
            *(threading.Thread(target=self._embed_loop, args=(one,), name="curator-device") for one in stagings),
            threading.Thread(target=self._label_loop, name="curator-label"),
        ]
        self.busy_s = 0.0
        self._labelling = False
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    @property
    def stage(self) -> str:
        """What the rows under way wait for: the heads while these are at work, else the device."""
        return "label" if self._labelling else "device"

    def put(self, slot: Slot) -> None:
        self._slots.put(slot)

    def close(self, timeout_s: float = 10.0) -> None:
        """Run what is waiting, then stop the threads."""
        self._slots.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def _next_batch(self) -> list[Slot] | None:
        """At least one slot and at most a batch of them; None when closed. One lane at a time: they share no batch."""
        with self._filling:
            return self._fill()

    def _fill(self) -> list[Slot] | None:
        first = self._slots.get()
        if first is None:
            self._slots.put(None)
            return None
        batch = [first]
        while len(batch) < self._batch_size:
            try:
                slot = self._slots.get(timeout=self._linger_s)
            except queue.Empty:
                break
            if slot is None:
                self._slots.put(None)
                break
            batch.append(slot)
        return batch

    def _embed_loop(self, staging: Staging) -> None:
        if self._lane_threads is not None:
            torch.set_num_threads(self._lane_threads)
        while (batch := self._next_batch()) is not None:
            started = time.perf_counter()
            try:
                vectors, patches = self._embed(staging.gather([slot.decoded.pixels for slot in batch]))
                done = staging.mark()
            except BaseException as error:
                self._fail(batch, error)
                self._leave(batch)
                continue
            self._leave(batch)
            self._embedded.put(_Launched(batch, vectors, patches, done, started, time.perf_counter()))
        self._embedded.put(None)

    def _embed(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._encoder.embed_dense(pixels) if self._patches else (self._encoder.embed_pixels(pixels), None)

    def _label_loop(self) -> None:
        free_at = 0.0
        working = self._lanes
        while working:
            launched = self._embedded.get()
            if launched is None:
                working -= 1
                continue
            try:
                free_at = self._wait(launched, free_at)
                self._labelling = True
                self._label(launched.batch, launched.vectors, launched.patches)
            except BaseException as error:
                self._fail(launched.batch, error)
            finally:
                self._labelling = False

    def _wait(self, launched: _Launched, free_at: float) -> float:
        """Wait for the device's work on a batch and account for it: from its launch, or from the end of the one before.

        Returns when the device was free again.
        """
        ended = launched.launched_at
        if launched.done is not None:
            launched.done.synchronize()
            ended = time.perf_counter()
        spent_s = max(0.0, ended - max(launched.started_at, free_at))
        self.busy_s += spent_s
        self._spend("device", launched.batch, spent_s)
        return ended

    def _label(self, batch: list[Slot], vectors: Tensor, patches: Tensor | None) -> None:
        started = time.perf_counter()
        embeddings = Embeddings(
            vectors,
            [slot.record.caption for slot in batch],
            [slot.record.metadata for slot in batch],
            [(slot.decoded.width, slot.decoded.height) for slot in batch],
            [slot.decoded.pixels for slot in batch],
            patches,
        )
        annotations: dict[str, ColumnValues] = {}
        for head in self._heads:
            annotations.update(head(embeddings))
        host = vectors.to("cpu", torch.float32).numpy()
        # Before the rows are in place: the last of them lets the lease commit, and its receipt must have all seconds.
        self._spend("label", batch, time.perf_counter() - started)
        for assembly, picked in _by_assembly(batch).items():
            records = [batch[i].record for i in picked]
            try:
                assembly.settle_embedded(records, host, annotations, np.asarray(picked, np.int64))
            except AbandonedError:
                logger.debug("rows of an ended lease dropped: %s", assembly.lease.shard.url)

    def _spend(self, stage: str, batch: Sequence[Slot], seconds: float) -> None:
        for assembly, picked in _by_assembly(batch).items():
            assembly.spend(stage, seconds * len(picked) / len(batch))

    def _leave(self, batch: Sequence[Slot]) -> None:
        for _ in batch:
            self._release()

    def _fail(self, batch: Sequence[Slot], error: BaseException) -> None:
        for assembly in _by_assembly(batch):
            assembly.fail(error)


def _by_assembly(batch: Sequence[Slot]) -> dict[Assembly, list[int]]:
    places: dict[Assembly, list[int]] = {}
    for place, slot in enumerate(batch):
        places.setdefault(slot.assembly, []).append(place)
    return places
