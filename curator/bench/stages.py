"""Each stage of the pipeline alone, timed on real samples. Owns the measuring; knows no engine and prints nothing."""

from __future__ import annotations

import queue
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from curator.data import Decoded, Embeddings, Reject, RowRecord, Rows, Sample, Shard
from curator.engine.blocks import Block
from curator.engine.decoding import DecodePool, Job, Outcome, decode_one
from curator.errors import SampleError
from curator.shards.reader import read_samples
from curator.storage import Storage
from curator.storage.resume import resuming
from curator.tables.sink import PartWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from curator.encoder import Encoder
    from curator.engine.encoders import Opened

REPEATS = 3
_WIDTH, _HEIGHT = 512, 384


@dataclass(frozen=True, slots=True)
class StageRate:
    """One stage alone: ``per_s`` units a second with ``cores`` cores busy, and the core time an image takes."""

    stage: str
    per_s: float
    unit: str
    cores: int
    core_s: float


def take_samples(shards: Sequence[Shard], storage: Storage, count: int) -> list[Sample]:
    """The first ``count`` samples that have an image, over the shards in order."""
    found: list[Sample] = []
    for shard in shards:
        for sample in _read(shard, storage):
            if sample.image_extension is not None and sample.fault is None:
                found.append(sample)
            if len(found) == count:
                return found
    return found


def _read(shard: Shard, storage: Storage) -> Iterator[Sample]:
    return read_samples(resuming(storage, storage.stat(shard.url)), url=shard.url)


def images_of(samples: Sequence[Sample]) -> list[bytes]:
    return [sample.fields[sample.image_extension] for sample in samples if sample.image_extension]


def time_read(shards: Sequence[Shard], storage: Storage, limit_s: float) -> tuple[StageRate, float]:
    """Samples a second from storage to members, and MB/s. The second pass counts: the first warms the page cache."""
    samples, payload, spent, worked = 0, 0, 0.0, 0.0
    for warm in (True, False):
        samples, payload = 0, 0
        started, before = time.perf_counter(), time.process_time()
        for shard in shards:
            for sample in _read(shard, storage):
                samples += 1
                payload += sum(map(len, sample.fields.values()))
            if time.perf_counter() - started > (limit_s / 2 if warm else limit_s):
                break
        spent, worked = time.perf_counter() - started, time.process_time() - before
    return StageRate("read", samples / spent, "samples/s", 1, worked / samples), payload / spent / 1e6


def time_decode(
    images: Sequence[bytes], decode: Callable[[bytes], Decoded], pool: DecodePool | None
) -> list[StageRate]:
    """Images a second on one core that does nothing else, and of the run's own pool where it decodes several at a time.

    The first is what decoding costs. What the second loses to as many times the first are waits, and cores that there
    are not.
    """
    alone = _best(lambda: [decode_one(decode, data) for data in images])
    rates = [_rate("decode", len(images), alone, "images/s", 1)]
    if pool is not None:
        together = _best(lambda: _through(pool, images))
        rates.append(_rate("decode together", len(images), together, "images/s", pool.slots))
    return rates


def _through(pool: DecodePool, images: Sequence[bytes]) -> None:
    ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    for data in images:
        pool.submit(Job(data, ended.put))
    for _ in images:
        ended.get()


def decode_all(images: Sequence[bytes], decode: Callable[[bytes], Decoded]) -> torch.Tensor:
    """uint8 [N, 3, H, W] of the images that decode."""
    pixels = []
    for data in images:
        try:
            pixels.append(decode(data).pixels)
        except SampleError:
            continue
    return torch.from_numpy(np.stack(pixels))


def time_encode(encoder: Encoder, pixels: torch.Tensor, batch_size: int, cores: int, lanes: int = 1) -> StageRate:
    """Images a second through the encoder in full batches, with every core (or the device) at its disposal.

    ``lanes`` batches are embedded at a time, as the pipeline does it.
    """
    batches = [pixels[start : start + batch_size] for start in range(0, len(pixels) - batch_size + 1, batch_size)]
    batches = batches or [pixels]
    batches *= -(-lanes // len(batches))
    count = sum(map(len, batches))

    def run() -> None:
        if lanes == 1:
            for batch in batches:
                encoder.embed_pixels(batch)
        else:
            list(pool.map(encoder.embed_pixels, batches))
        if encoder.device.type == "cuda":
            torch.cuda.synchronize(encoder.device)

    with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(max(1, cores // lanes),)) as pool:
        spent = _best(run)
    if encoder.device.type != "cpu":
        return StageRate("encode", count / spent.wall_s, "images/s", 0, 0.0)
    return _rate("encode", count, spent, "images/s", cores)


def describe(samples: Sequence[Sample], vectors: torch.Tensor, pixels: torch.Tensor) -> Embeddings:
    """Embedded samples as the engine would hand them to the heads."""
    kept = samples[: len(vectors)]
    sizes = [(_WIDTH, _HEIGHT)] * len(kept)
    metadata = [sample.fields.get("json") for sample in kept]
    return Embeddings(
        vectors[: len(kept)], [_caption(sample) for sample in kept], metadata, sizes, list(pixels.numpy())
    )


def time_label(heads: Sequence[Opened], described: Embeddings, batch_size: int, cores: int) -> StageRate:
    """Images a second through all heads and annotators, in batches as the pipeline gives them."""
    count = len(described.vectors)
    batches = [_rows(described, start, start + batch_size) for start in range(0, count, batch_size)]
    rounds = max(1, 8 * batch_size // count)

    def run() -> None:
        for _ in range(rounds):
            for batch in batches:
                for head in heads:
                    head(batch)

    return _rate("label", rounds * count, _best(run), "images/s", cores)


def _rows(described: Embeddings, start: int, stop: int) -> Embeddings:
    assert described.pixels is not None
    lists = (described.captions, described.metadata, described.sizes, described.pixels)
    return Embeddings(described.vectors[start:stop], *(values[start:stop] for values in lists))  # type: ignore[arg-type]


def time_write(
    heads: Sequence[Opened],
    described: Embeddings,
    samples: Sequence[Sample],
    schema: pa.Schema,
    storage: Storage,
    url: str,
) -> StageRate:
    """Rows a second from finished rows to a published part, which is removed again."""
    rows = make_rows(heads, described, samples)
    portions = 8

    def run() -> None:
        writer = PartWriter(storage, url, schema, footer={})
        for portion in range(portions):
            writer.write(_shift(rows, portion * len(rows.records)))
        writer.commit()

    spent = _best(run)
    storage.delete(url)
    return _rate("write", portions * len(rows.records), spent, "rows/s", 1)


def make_rows(heads: Sequence[Opened], described: Embeddings, samples: Sequence[Sample]) -> Rows:
    """Rows as the engine would hand them to the sink, of embedded samples."""
    vectors = described.vectors
    count = len(vectors)
    columns = [column for head in heads for column in head.columns]
    annotations = {}
    for head in heads:
        annotations.update(head(described))
    block = Block(0, count, vectors.shape[1], columns)
    block.records.extend([None] * count)
    records = [_record(sample, index) for index, sample in enumerate(samples[:count])]
    block.settle_embedded(records, vectors.float().cpu().numpy(), annotations, np.arange(count))
    return block.take("bench")


def _record(sample: Sample, index: int, reject: Reject | None = None) -> RowRecord:
    return RowRecord(
        sample.key, index, sample.offset, _WIDTH, _HEIGHT, "jpeg", bytes(32), _caption(sample),
        sample.fields.get("json"), reject,
    )  # fmt: skip


def _caption(sample: Sample) -> str | None:
    return sample.fields["txt"].decode("utf-8", "replace") if "txt" in sample.fields else None


def _shift(rows: Rows, by: int) -> Rows:
    """The same rows further on in the shard: a part accepts only rows that follow one another."""
    from dataclasses import replace

    return replace(rows, records=[replace(record, index=record.index + by) for record in rows.records])


@dataclass(frozen=True, slots=True)
class _Spent:
    wall_s: float
    cpu_s: float


def _rate(stage: str, count: int, spent: _Spent, unit: str, cores: int) -> StageRate:
    """On one core a stage costs its CPU time: while it waits, others run. One that is given all cores costs them."""
    core_s = spent.cpu_s if cores == 1 else cores * spent.wall_s
    return StageRate(stage, count / spent.wall_s, unit, cores, core_s / count)


def _best(call: Callable[[], object]) -> _Spent:
    """Median seconds over the repeats, after one that warms up, and CPU seconds."""
    call()
    spent = []
    for _ in range(REPEATS):
        started, before = time.perf_counter(), time.process_time()
        call()
        spent.append((time.perf_counter() - started, time.process_time() - before))
    wall_s, cpu_s = (statistics.median(values) for values in zip(*spent, strict=True))
    return _Spent(wall_s, cpu_s)
