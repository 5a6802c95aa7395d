"""The bench as a whole: stage rates, the pipeline, and the roofline between them. Prints nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from typing import Any

import torch

from curator.bench.fidelity import Fidelity, compare_modes
from curator.bench.memory import PeakMemory
from curator.bench.stages import (
    StageRate,
    decode_all,
    describe,
    images_of,
    take_samples,
    time_decode,
    time_encode,
    time_label,
    time_read,
    time_write,
)
from curator.config import Config
from curator.encoder import Encoder
from curator.engine.annotations import open_annotations
from curator.engine.compose import lanes_of, open_encoder, plan_worker, storage_of
from curator.engine.compose_decoding import decoder_of, open_decoding
from curator.engine.encoders import Opened, open_further
from curator.engine.fleet import WorkerReady
from curator.engine.progress import Progress
from curator.engine.run import label
from curator.errors import ConfigError
from curator.shards.decode import Decoder
from curator.shards.manifest import expand
from curator.storage import join
from curator.tables.schema import build_schema


@dataclass(frozen=True, slots=True)
class PipelineRate:
    """The whole job: rows a second once the worker was ready, seconds until then and until the first shard was done.

    ``peak_rss_bytes`` is of the process and its decode processes together.
    """

    rows: int
    rows_per_s: float
    startup_s: float
    first_shard_s: float
    seconds: dict[str, float]
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Rates of the stages alone, the roofline that they allow, and what the pipeline reached of it."""

    machine: dict[str, Any]
    stages: list[StageRate]
    read_mb_per_s: float
    roofline_per_s: float
    pipeline: PipelineRate
    ratio: float
    starved_by: str
    fidelity: list[Fidelity] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def roofline(stages: Sequence[StageRate], cores: int) -> float:
    """Images a second that the stage rates allow with ``cores`` cores.

    Stages that run on cores share them, so their core seconds add up; those of decoding are of one core alone, where
    nothing waits. A device works beside them, so the slower of the two sides decides. (The roofline model of Williams,
    Waterman and Patterson 2009, with stages in place of kernels.)
    """
    busy = sum(rate.core_s for rate in _alone(stages))
    device = [rate.per_s for rate in stages if rate.cores == 0]
    return min([cores / busy, *device])


def _alone(stages: Sequence[StageRate]) -> list[StageRate]:
    """One rate for each stage: of decode that of one core alone."""
    return [rate for rate in stages if rate.stage != "decode together"]


def run_bench(
    config: Config,
    *,
    images: int = 256,
    limit_s: float = 20.0,
    say: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure with the config's own shards, encoder, label sets and decode mode.

    ``images`` are used for the stages alone; the pipeline runs over all shards of the input, into a directory that is
    removed. Raises ConfigError where the input has no usable image.
    """
    storage = storage_of(config)
    shards = expand(config.input.urls, storage)
    plan = plan_worker(config)
    say("loading the encoder")
    encoder = open_encoder(config)
    heads = open_annotations(
        plan.annotations, encoder, storage, cache_dir=config.encoder.cache_dir, cores=plan.cores,
        further=open_further(config, encoder, plan.annotations.encoders),
    )  # fmt: skip
    samples = take_samples(shards, storage, images)
    if not samples:
        raise ConfigError(f"{', '.join(config.input.urls)}: no sample with an image in {len(shards)} shards")
    say("measuring the stages alone")
    stages, read_mb_per_s = _stages(config, encoder, heads, samples, shards, limit_s, plan.cores)
    sets = {spec.name for spec in plan.annotations.label_sets}
    label_sets = [each for each in heads if each.name in sets]  # a further encoder's are not told apart by ours
    fidelity = compare_modes(encoder, label_sets, images_of(samples), config.encoder.batch_size)
    del encoder
    say(f"running the whole job over {len(shards)} shards")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:  # so that memory is the job's own
        pipeline = process.submit(_pipeline, config).result()
    ceiling = roofline(stages, plan.cores)
    slowest = max(_alone(stages), key=lambda rate: rate.core_s or 1 / rate.per_s)
    return BenchReport(
        machine={"cores": plan.cores, "torch": torch.__version__, "python": sys.version.split()[0]},
        stages=stages,
        read_mb_per_s=read_mb_per_s,
        roofline_per_s=ceiling,
        pipeline=pipeline,
        ratio=pipeline.rows_per_s / ceiling,
        starved_by=slowest.stage,
        fidelity=fidelity,
    )


def _stages(
    config: Config, encoder: Encoder, heads: Sequence[Opened], samples: Any, shards: Any, limit_s: float, cores: int
) -> tuple[list[StageRate], float]:
    storage = storage_of(config)
    decode = decoder_of(config, encoder.preprocess)
    data = images_of(samples)
    read, read_mb_per_s = time_read(shards, storage, limit_s)
    decoded = _decode(config, encoder, decode, data, cores)
    pixels = decode_all(data, decode)
    batch_size = config.encoder.batch_size
    encode = time_encode(encoder, pixels, batch_size, cores, lanes_of(config, encoder, cores))
    vectors = torch.cat([encoder.embed_pixels(batch) for batch in torch.split(pixels, batch_size)])
    described = describe(samples, vectors, pixels)
    stages = [read, *decoded, encode]
    if heads:
        stages.append(time_label(heads, described, batch_size, cores))
    columns = [column for head in heads for column in head.columns]
    schema = build_schema(encoder.dim, config.output.embedding_dtype, columns)
    folder = tempfile.mkdtemp(prefix="curator-bench-")
    try:
        stages.append(time_write(heads, described, samples, schema, storage, join(folder, "part.parquet")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return stages, read_mb_per_s


def _decode(config: Config, encoder: Encoder, decode: Decoder, data: Sequence[bytes], cores: int) -> list[StageRate]:
    """Decoding on a core alone, and as the run does it on this machine (its decode actors would be on others)."""
    if config.decode.actors:
        return time_decode(data, decode, None)
    pool = open_decoding(config, encoder.preprocess, cores)()
    try:
        return time_decode(data, decode, pool if pool.slots > 1 else None)
    finally:
        pool.close()


def _pipeline(config: Config) -> PipelineRate:
    """The main job into a directory of its own, timed from the first worker's readiness."""
    ready: list[float] = []
    first: list[float] = []
    started = time.monotonic()

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, WorkerReady):
            ready.append(time.monotonic())
        elif progress.totals.shards and not first:
            first.append(time.monotonic())

    memory = PeakMemory(os.getpid())
    folder = tempfile.mkdtemp(prefix="curator-bench-")
    try:
        tree = config.model_dump()
        tree["output"]["url"] = folder
        summary = label(Config.model_validate(tree), observe=observe)
        ended = started + summary.elapsed_s
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not ready or not first:
        raise ConfigError(f"the job did not label a shard: {summary.message}")
    rows = summary.this_run["rows"]
    return PipelineRate(
        rows=rows,
        rows_per_s=rows / (ended - ready[0]),
        startup_s=ready[0] - started,
        first_shard_s=first[0] - started,
        seconds=summary.this_run["seconds"],
        peak_rss_bytes=memory.stop(),
    )
