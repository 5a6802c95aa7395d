"""What a run would cost: labels a sample of its shards into a place of its own and scales up. Leaves the output alone.

Owns the sample's run and the fleet's arithmetic; the statistics are kernels/estimates.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.config import Config
from curator.data import Receipt, Shard
from curator.engine.compose import storage_of
from curator.engine.fleet import LeaseDone
from curator.engine.progress import Progress, Summary
from curator.engine.run import ignore_progress, label
from curator.errors import ConfigError
from curator.kernels.estimates import Estimate, Ints, draw, strata_by_size, totals
from curator.storage import Storage


@dataclass(frozen=True, slots=True)
class Prices:
    """What the fleet costs, in any currency. None: not asked."""

    worker_hour: float | None = None
    stored_gib: float | None = None

    def of(self, worker_hours: Estimate, written_bytes: Estimate) -> Estimate | None:
        """What hours and bytes cost together; None where neither has a price."""
        if self.worker_hour is None and self.stored_gib is None:
            return None
        return worker_hours.times(self.worker_hour or 0.0).plus(written_bytes.times((self.stored_gib or 0.0) / 2**30))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rest of a plan needs, each with its interval. Hours have the ``startup_s`` of each worker in them.

    ``sampled`` of ``shards`` shards were labelled; ``failed`` of them could not be, and say nothing.
    """

    shards: int
    sampled: int
    failed: int
    workers: int
    startup_s: float
    read_bytes: int
    images: Estimate
    rejected: Estimate
    written_bytes: Estimate
    worker_hours: Estimate
    gpu_hours: Estimate
    hours: Estimate
    cost: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: value.to_dict() if isinstance(value, Estimate) else value for name, value in named.items()}


def estimate(
    config: Config,
    todo: Sequence[Shard],
    storage: Storage,
    *,
    sample: int = 12,
    workers: int | None = None,
    prices: Prices = Prices(),
    scratch: str | None = None,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    seed: int = 0,
) -> Forecast:
    """Label ``sample`` shards of ``todo`` as ``config`` says, by one worker, and scale up to a fleet of ``workers``.

    The rows of the sample go to ``scratch`` and are removed; without it they stay in this process's memory, for which
    the worker must be in this process, too (run.backend local). ConfigError where nothing can be said.
    """
    if config.input.run:
        raise ConfigError("estimates are of the main job; a relabelling reads and embeds no image")
    if not todo:
        raise ConfigError("nothing is left to do, so there is nothing to estimate")
    if scratch is None and config.run.backend == "ray":
        raise ConfigError(
            "actors cannot write into this process: give --scratch a directory or prefix that every node reaches "
            "(it is emptied again), or measure on this machine with --set run.backend=local"
        )
    sizes = _sizes(todo, storage)
    strata = strata_by_size(sizes, sample)
    drawn = draw(strata, sample, seed=seed)
    place = f"{(scratch or 'memory://curator-estimate').rstrip('/')}/{uuid.uuid4().hex}"
    settings = _for_sample(config, [todo[index].url for index in drawn], place)
    done: dict[str, Receipt] = {}

    def watch(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone):
            done[progress.news.receipt.url] = progress.news.receipt
        observe(progress)

    try:
        summary = label(settings, observe=watch, stop=stop)
    finally:
        scratch_storage = storage_of(settings)
        for entry in list(scratch_storage.list(f"{place}/")):
            scratch_storage.delete(entry.url)
    if summary.status in ("stopped", "fleet_lost") or not done:
        raise ConfigError(f"the sample could not be labelled, so nothing can be said: {summary.message}")
    seen = [index for index in drawn if todo[index].url in done]
    receipts = [done[todo[index].url] for index in seen]
    measured = _Sample(sizes, strata, len(drawn), np.asarray(seen, np.int64), receipts, summary)
    return _forecast(config, measured, min(workers or _workers(config), len(todo)), prices)


@dataclass(frozen=True, slots=True)
class _Sample:
    """``receipts`` belong to the shards ``seen``, indices into ``sizes`` and ``strata``."""

    sizes: Sequence[int]
    strata: Ints
    drawn: int
    seen: Ints
    receipts: Sequence[Receipt]
    summary: Summary

    def total(self, of: Callable[[Receipt], float]) -> Estimate:
        return totals(self.sizes, self.strata, self.seen, [of(receipt) for receipt in self.receipts])


def _sizes(todo: Sequence[Shard], storage: Storage) -> list[int]:
    """Bytes of each shard; the manifest does not know those of shards that were given one by one."""

    def look(shard: Shard) -> int:
        return storage.stat(shard.url).size if shard.size is None else shard.size

    with ThreadPoolExecutor(16, thread_name_prefix="curator-sizes") as pool:
        return list(pool.map(look, todo))


def _for_sample(config: Config, urls: Sequence[str], place: str) -> Config:
    settings = config.model_dump()
    settings["input"] |= {"urls": tuple(urls), "partial": True, "since": None, "max_shards": None}
    settings["output"]["url"] = place
    settings["ray"] |= {"workers": 1, "min_workers": 1}
    settings["run"] |= {"metrics_port": None, "traces": False, "prune": False, "max_seconds": None}
    settings["run"] |= {"reject_budget": 1.0, "quarantine_budget": 1.0, "straggler_factor": 1e9}
    if settings["storage"]["schemes"] is not None and place.startswith("memory:"):
        settings["storage"]["schemes"] = (*settings["storage"]["schemes"], "memory")
    return Config.model_validate(settings)


def _forecast(config: Config, sample: _Sample, workers: int, prices: Prices) -> Forecast:
    startup_s = sample.summary.startup_s or 0.0
    # Leases overlap in a worker: each has its share of the time that passed, by how long it took.
    share = (sample.summary.elapsed_s - startup_s) / sum(receipt.total_s for receipt in sample.receipts)
    seconds = sample.total(lambda receipt: receipt.total_s * share)
    written = sample.total(lambda receipt: receipt.part_bytes)
    worker_hours = seconds.times(1 / 3600, workers * startup_s / 3600)
    least = (startup_s + max(receipt.total_s for receipt in sample.receipts)) / 3600  # no fleet is faster than a shard
    return Forecast(
        shards=len(sample.sizes),
        sampled=sample.drawn,
        failed=sample.drawn - len(sample.seen),
        workers=workers,
        startup_s=startup_s,
        read_bytes=sum(sample.sizes),
        images=sample.total(lambda receipt: receipt.rows),
        rejected=sample.total(lambda receipt: receipt.rejected),
        written_bytes=written,
        worker_hours=worker_hours,
        gpu_hours=worker_hours.times(_gpus(config)),
        hours=seconds.times(1 / workers / 3600, startup_s / 3600).at_least(least),
        cost=prices.of(worker_hours, written),
    )


def _workers(config: Config) -> int:
    return config.ray.workers if config.run.backend == "ray" else 1


def _gpus(config: Config) -> float:
    """GPUs of one worker: what it asks Ray for, or the one that it would use on this machine."""
    if config.run.backend == "ray":
        return config.ray.num_gpus
    from curator.encoder.hardware import choose_device

    return float(choose_device(config.encoder.device).type == "cuda")
