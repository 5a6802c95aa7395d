"""One labelling run from its Config to its summary: manifest, plan, lock, fleet, driver, exit status.

Knows the order of things and when a run may not begin; leaves showing it to the caller.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from curator.config import Config
from curator.data import Shard
from curator.engine.backends.local import LocalFleet, Worker
from curator.engine.compose import (
    WorkerPlan,
    open_encoder,
    plan_worker,
    ray_resources,
    require_paths,
    run_digests,
    storage_of,
    storage_options,
)
from curator.engine.driver import Driver, DriverSettings, FleetLostError, StoppedError
from curator.engine.ending import finished_before, note_samples, summarize
from curator.engine.fleet import Fleet
from curator.engine.instruments import instrumented
from curator.engine.ledger import Ledger, Plan, make_plan
from curator.engine.lock import RunLock
from curator.engine.progress import Progress, Summary, Totals
from curator.engine.scheduler import Limits, Scheduler
from curator.engine.secrets import refuse_secret_settings
from curator.errors import ConfigError
from curator.shards.manifest import expand
from curator.storage import Storage
from curator.storage.urls import refuse_secrets, scheme_of
from curator.tables.readers import part_url

logger = logging.getLogger(__name__)


def ignore_progress(_: Progress) -> None:
    """The observer of a run that nobody watches."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a run does, apart from how it is run: the main job is one such, relabelling another.

    ``manifest`` lists the whole input; ``build`` makes a worker anywhere (it is pickled); ``shaping`` are the settings
    that shape rows, with their ``config_digest``.
    """

    manifest: Callable[[], Iterable[Shard]]
    build: Callable[[], Worker]
    config_digest: str
    shaping: Mapping[str, Any]


def read_plan(config: Config, manifest: Iterable[Shard], ledger: Ledger) -> Plan:
    """The input against the ledger; ``since`` narrows only what is to do, or all before would seem vanished."""
    plan = make_plan(manifest, ledger)
    if config.input.partial:
        plan = replace(plan, vanished={})
    since = config.input.since
    if since is None:
        return plan
    return replace(plan, todo=tuple(shard for shard in plan.todo if shard.url.rsplit("/", 1)[-1] > since))


def learn_conditions(config: Config, storage: Storage) -> Config:
    """The config with what its output's storage keeps to: whether two writers can never both create one name.

    An open protocol (S3) is asked by a probe; workers and ``run.json`` are told by ``storage.conditional_writes``.
    """
    check = getattr(storage, "check_conditional_writes", None)
    if check is None or not config.storage.conditional_writes or check(config.output.url):
        return config
    settings = config.storage.model_copy(update={"conditional_writes": False})
    return config.model_copy(update={"storage": settings})


def _manifest(config: Config, storage: Storage) -> list[Shard]:
    """The shards that the input stands for. A url with a secret in it is refused: it would stand in every row.

    So is one of a scheme that is not allowed, whoever wrote the list that names it.
    """
    shards, schemes = expand(config.input.urls, storage), storage_options(config).schemes
    for shard in shards:
        refuse_secrets(shard.url)
        if scheme_of(shard.url) not in schemes:
            raise ConfigError(f"{shard.url}: this scheme is not allowed; storage.schemes are {', '.join(schemes)}")
    return shards


def label(
    config: Config,
    *,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    fleet: Fleet | None = None,
    storage: Storage | None = None,
) -> Summary:
    """Run the main job until every shard of the plan is settled, or until it has to stop.

    ``observe`` hears of every change; setting ``stop`` ends the run after the leases under way. ``fleet`` and
    ``storage`` replace those that the config names. Raises ConfigError, before any worker starts, where the run cannot
    begin.
    """
    require_paths(config)
    storage = storage or storage_of(config)
    config = learn_conditions(config, storage)
    plan = plan_worker(config)
    summary = run_work(_work(plan, storage), config, storage, observe=observe, stop=stop, fleet=fleet)
    if not summary.this_run["shards"] and summary.status in ("complete", "over_budget"):
        _check_local_weights(plan, storage)
    return note_samples(summary, config, plan.annotations.readers_of_captions)


def _check_local_weights(plan: WorkerPlan, storage: Storage) -> None:
    """ConfigError where local weights are not those of the run: where no worker opened them, only this looks."""
    named = plan.config.encoder.model_dump(include={"name", "pretrained", "precision"})
    ledger = Ledger(storage, plan.config.output.url)
    if plan.shaping["encoder"] != named and ledger.run() is not None:
        ledger.check_run({"encoder_digest": open_encoder(plan.config).digest}, plan.shaping)


def label_work(config: Config, storage: Storage) -> Work:
    """The main job as work: with the files that the config names read, all that shapes its rows is known."""
    return _work(plan_worker(config), storage)


def _work(plan: WorkerPlan, storage: Storage) -> Work:
    config = plan.config
    return Work(lambda: _manifest(config, storage), plan, plan.config_digest, plan.shaping)


def run_work(
    work: Work,
    config: Config,
    storage: Storage,
    *,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    fleet: Fleet | None = None,
) -> Summary:
    """Run ``work`` over what is not done yet, as ``config.run`` says, into ``config.output.url``; see ``label``."""
    refuse_secret_settings(config)
    ledger = Ledger(storage, config.output.url)
    ledger.check_run({"config_digest": work.config_digest}, work.shaping)
    before = finished_before(ledger, config.run.id)
    if before is not None:
        return before
    manifest = work.manifest()
    with RunLock(storage, ledger.root, ttl_s=config.run.lock_ttl_s, run_id=config.run.id) as lock:
        plan = read_plan(config, manifest, ledger)
        todo = plan.todo[: config.input.max_shards]
        logger.info(
            "plan todo=%d of %d done=%d quarantined=%d", len(todo), len(plan.todo), plan.done, len(plan.quarantined)
        )
        for shard_id, versions in plan.superseded.items():
            ledger.drop_receipts(shard_id, versions)
        for shard_id in plan.outdated:
            ledger.release(shard_id)
        if plan.vanished:
            _tell_vanished(plan, ledger, prune=config.run.prune)
        if config.run.prune:
            _prune(plan, ledger, storage)
        run = _Run(config, work, ledger, plan, todo, lock.lost)
        if todo:
            ledger.drop_summary(config.run.id)
            fleet = fleet or _fleet(config, work.build, len(todo))
            with instrumented(config, observe) as observe_all:
                return run.drive(fleet, observe_all, stop or threading.Event())
        return run.summarize("complete", "nothing to do: every shard is settled", Totals(), 0.0)


def _tell_vanished(plan: Plan, ledger: Ledger, *, prune: bool) -> None:
    """Name some of the shards that are done and that the input no longer has."""
    some = {shard_id: plan.vanished[shard_id] for shard_id in list(plan.vanished)[:5]}
    names = ", ".join(receipt.url for receipt in ledger.receipts(some))
    fate = "their rows are removed" if prune else "their rows are kept (run.prune removes them)"
    logger.warning("%d done shards are no longer in the input; %s: %s", len(plan.vanished), fate, names)


def _prune(plan: Plan, ledger: Ledger, storage: Storage) -> None:
    """Remove what vanished: the part first, so that a part without a receipt never comes of it."""
    for shard_id, versions in plan.vanished.items():
        storage.delete(part_url(ledger.output, shard_id))
        ledger.drop_receipts(shard_id, versions)


def _fleet(config: Config, build: Callable[[], Worker], shards: int) -> Fleet:
    """The backend's workers, no more than there are shards for."""
    if config.run.backend == "ray":
        from curator.engine.backends.ray import RayFleet
        from curator.engine.backends.ray_connect import connect

        connect(config.ray.address)
        resources = ray_resources(config)
        resources = replace(resources, workers=min(resources.workers, shards))
        return RayFleet(build, resources, in_flight=config.run.in_flight)
    return LocalFleet(build, in_flight=config.run.in_flight)


@dataclass(slots=True)
class _Run:
    config: Config
    work: Work
    ledger: Ledger
    plan: Plan
    todo: Sequence[Shard]
    lock_lost: threading.Event

    def drive(self, fleet: Fleet, observe: Callable[[Progress], None], stop: threading.Event) -> Summary:
        run = self.config.run
        scheduler = Scheduler(
            self.todo,
            Limits(run.attempts, run.losses, run.backoff_s, straggler_factor=run.straggler_factor),
            clock=time.monotonic,
        )
        settings = DriverSettings(
            stall_s=run.stall_s,
            heartbeat_s=run.heartbeat_s,
            silence_s=run.silence_s,
            startup_s=run.startup_s,
            worker_losses=run.worker_losses * (self.config.ray.workers if run.backend == "ray" else 1),
            min_workers=min(self.config.ray.min_workers, len(self.todo)) if run.backend == "ray" else 1,
            max_seconds=run.max_seconds,
            grace_s=run.grace_s,
        )
        driver = Driver(
            self.plan, scheduler, fleet, self.ledger, settings,
            check=self._check, observe=observe, stop=stop, lock_lost=self.lock_lost,
        )  # fmt: skip
        status, message = "complete", ""
        try:
            driver.run()
        except StoppedError as error:
            status, message = "stopped", f"{error}; {scheduler.remaining} shards remain: run the same command to resume"
        except FleetLostError as error:
            status, message = "fleet_lost", str(error)
        finally:
            fleet.close(run.grace_s)
        times = {"startup_s": driver.startup_s, "first_shard_s": driver.first_shard_s}
        return self.summarize(status, message, driver.totals, driver.elapsed_s, **times)

    def _check(self, provenance: Mapping[str, str]) -> None:
        """The first worker opens the run, every later one must have loaded the very same things."""
        self.ledger.open_run(
            run_digests(provenance),
            self.work.shaping,
            provenance=dict(provenance),
            settings=self.config.model_dump(),
        )

    def summarize(self, status: str, message: str, now: Totals, elapsed_s: float, **times: float | None) -> Summary:
        summary = summarize(
            self.config, self.ledger, self.plan, self.work.config_digest, status, message, now, elapsed_s, **times
        )
        if not self.lock_lost.is_set():  # else the output is another driver's by now
            self.ledger.write_summary(summary.to_dict())
        return summary
