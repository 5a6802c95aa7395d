"""Samples on their way into the device's batches: rows admitted, images decoded, captions found.

Owns the bound on how many images are under way, over all leases of a worker; knows no storage and no schedule.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from curator.data import UNREAD_EXTENSIONS, Decoded, Reject, RowRecord, Sample
from curator.engine.assembly import AbandonedError, Assembly
from curator.engine.batcher import Annotator, DeviceBatcher, ImageEncoder, Slot
from curator.engine.decoding import DecodePool, Job, Outcome
from curator.engine.room import Room
from curator.engine.staging import Staging
from curator.errors import RetryableError
from curator.kernels.fields import value_at

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The numbers of a worker.

    The images between reader and heads are bounded over all leases, and ``in_flight_bytes`` bounds those of them that
    wait to be decoded.
    ``device_lanes`` batches are embedded at a time, with ``lane_threads`` of torch's threads each. With ``patches`` the
    places in the images are embedded, too.
    Of each remote shard ``read_ahead_parts`` parts of ``read_ahead_bytes`` are in memory at most.
    """

    batch_size: int = 64
    in_flight_bytes: int = 512 * 2**20
    block_rows: int = 1024
    row_group_rows: int = 8192
    caption: str = "txt"
    image: str = ""
    salvage: bool = False
    max_member_bytes: int = 256 * 2**20
    max_text_bytes: int = 2**20
    cuda: bool = False
    device_lanes: int = 1
    lane_threads: int | None = None
    patches: bool = False
    device_wait_s: float = 600.0
    read_attempts: int = 5
    read_ahead_parts: int = 0
    read_ahead_bytes: int = 16 * 2**20

    def in_flight_samples(self, decoding: int) -> int:
        """How many images may be under way where it takes ``decoding`` of them to keep the decoders busy."""
        return (3 + self.device_lanes) * self.batch_size + decoding


class Intake:
    """Takes samples of any lease; settles their rows by itself (rejects) or through the device's batches."""

    def __init__(
        self,
        pool: DecodePool,
        encoder: ImageEncoder,
        heads: Sequence[Annotator],
        settings: WorkerSettings,
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._room = Room(settings.in_flight_samples(pool.under_way), settings.in_flight_bytes)
        self._batcher = DeviceBatcher(
            encoder,
            heads,
            batch_size=settings.batch_size,
            staging=Staging(settings.batch_size, pinned=True, event=torch.cuda.Event) if settings.cuda else None,
            release=self._room.leave,
            lanes=settings.device_lanes,
            lane_threads=settings.lane_threads,
            patches=settings.patches,
        )

    @property
    def stage(self) -> str:
        """The shared stage that a waiting lease waits for."""
        return self._batcher.stage

    def close(self) -> None:
        self._pool.close()
        self._batcher.close()

    def admit(self, assembly: Assembly, sample: Sample) -> None:
        """Give the sample its row and send its image on; waits while too many images are under way."""
        index = assembly.admit()
        sample = self._without_long_texts(sample)
        extension = sample.image_extension
        if sample.fault is not None or extension is None:
            reject = sample.fault or _without_image(sample)
            assembly.settle_rejected(self._record(sample, index, reject=reject))
            return
        data = sample.fields[extension]
        waited_s = 0.0
        while not self._enter(assembly, len(data)):
            waited_s += 1.0
            if assembly.over:
                return
            if waited_s > self._settings.device_wait_s:
                raise RetryableError(f"{assembly.lease.shard.url}: no room in the device's queue for {waited_s:.0f} s")
        self._pool.submit(Job(data, lambda outcome: self._decoded(assembly, sample, index, len(data), outcome)))

    def _without_long_texts(self, sample: Sample) -> Sample:
        """The sample as it is, or with its caption and json left out for a fault where one of them is too long."""
        member, limit = self._settings.caption, self._settings.max_text_bytes
        names = ["json"] if member.startswith("json.") else [member, "json"]
        for name in names:
            if len(sample.fields.get(name, b"")) > limit and sample.fault is None:
                message = f"member {name!r} has {len(sample.fields[name])} bytes, more than {limit}"
                kept = {key: value for key, value in sample.fields.items() if key not in names}
                return replace(sample, fields=kept, fault=Reject("text_too_long", message))
        return sample

    def _enter(self, assembly: Assembly, size: int) -> bool:
        if self._room.enter(size):
            return True
        with assembly.waiting():
            return self._room.enter(size, timeout_s=1.0)

    def _decoded(self, assembly: Assembly, sample: Sample, index: int, size: int, outcome: Outcome) -> None:
        self._room.decoded(size)
        handed_on = False
        result = outcome.result
        try:
            assembly.spend("decode", outcome.seconds)
            if isinstance(result, Decoded):
                record = self._record(sample, index, sha256=outcome.sha256, decoded=result)
                self._batcher.put(Slot(assembly, record, result))
                handed_on = True
            elif isinstance(result, Reject):
                assembly.settle_rejected(self._record(sample, index, sha256=outcome.sha256, reject=result))
            else:
                assembly.fail(result)
        except AbandonedError:
            logger.debug("image of an ended lease dropped: %s", assembly.lease.shard.url)
        except BaseException as error:
            assembly.fail(error)
        finally:
            if not handed_on:
                self._room.leave()

    def _record(
        self,
        sample: Sample,
        index: int,
        *,
        sha256: bytes | None = None,
        decoded: Decoded | None = None,
        reject: Reject | None = None,
    ) -> RowRecord:
        metadata = sample.fields.get("json")
        return RowRecord(
            key=sample.key,
            index=index,
            offset=sample.offset,
            width=decoded.width if decoded else None,
            height=decoded.height if decoded else None,
            format=decoded.format if decoded else None,
            sha256=sha256,
            caption=_caption(sample, self._settings.caption, metadata),
            metadata=metadata,
            reject=reject,
        )


def _without_image(sample: Sample) -> Reject:
    """Why a sample has no image to decode."""
    unread = next((each for each in sample.fields if each.rsplit(".", 1)[-1] in UNREAD_EXTENSIONS), None)
    if unread is not None:
        return Reject("unsupported_format", f"{unread} is not decoded; convert it to jpg, png, webp, gif, bmp or tiff")
    hint = f"; input.image = {sample.other_images[0]!r} would take one" if sample.other_images else ""
    return Reject("no_image", f"members: {', '.join(sample.fields) or 'none'}{hint}")


def _caption(sample: Sample, source: str, metadata: bytes | None) -> str | None:
    """The caption from the member ``source``, or from the field of its json that ``json.`` names (nested by dots)."""
    if not source.startswith("json."):
        text = sample.fields.get(source)
        return None if text is None else text.decode("utf-8-sig", "replace").strip()
    value = value_at(metadata, source.split(".")[1:])
    return value if isinstance(value, str) else None
