"""Builds a caption bank as a resumable run: what such a run does, and when it may not begin.

Owns no loop and no retry: the engine drives it as it drives the main job. A lease is a file of captions or a piece of a
large one; what the leases have made is merged when all are done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from curator.captions.facts import BUILD, FORMAT, BankFacts
from curator.captions.index import NO_INDEX, factory_of, faiss_module
from curator.config import Config, digest_of
from curator.curation.bank_merge import merge, present_at
from curator.curation.bank_sources import Reading, leases
from curator.curation.bank_text import UTF_8, known_encoding
from curator.engine.compose import cores_of, lanes_of, open_encoder, require_paths, storage_of
from curator.engine.fleet import Fleet
from curator.engine.ledger import Ledger
from curator.engine.progress import Progress, Summary
from curator.engine.run import Work, ignore_progress, learn_conditions, run_work
from curator.errors import ConfigError
from curator.storage import Storage, join
from curator.storage.urls import redact, refuse_secrets

if TYPE_CHECKING:
    from curator.curation.bank_worker import BankWorker
    from curator.encoder import Encoder

logger = logging.getLogger(__name__)

LEASE_BYTES = 2**19
_MOST_LEASES = 8  # of one worker that have the encoder at the same time


@dataclass(frozen=True, slots=True)
class BankSettings:
    """``index``: ivf, hnsw, pq, ``none``, or None for the kind that the bank has, if it is there already.

    ``encoding`` is that of text; a file is cut into leases of about ``lease_bytes`` of text where it can be.
    """

    column: str = "caption"
    index: str | None = None
    encoding: str = UTF_8
    lease_bytes: int = LEASE_BYTES


@dataclass(frozen=True, slots=True)
class BankPlan:
    """All that a worker needs to build itself, anywhere."""

    config: Config
    reading: Reading

    @property
    def shaping(self) -> Mapping[str, Any]:
        return {
            "bank_format": FORMAT,
            "encoder": self.config.encoder.shaping(),
            "reading": asdict(self.reading),
        }

    @property
    def config_digest(self) -> str:
        return digest_of(self.shaping)

    def __call__(self) -> BankWorker:
        return wire_bank(self, open_encoder(self.config), storage_of(self.config))


def build(
    config: Config,
    settings: BankSettings | None = None,
    *,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    fleet: Fleet | None = None,
    storage: Storage | None = None,
) -> tuple[Summary, BankFacts | None]:
    """Embed the captions of ``config.input.urls`` into a bank at ``config.output.url``; None where it did not finish.

    Resumable: the same call goes on where it was stopped or killed, tries again what was given up, and embeds what the
    input has gained; the bank's digest depends on the captions and the encoder only. Raises ConfigError where it cannot
    begin.
    """
    settings = settings or BankSettings()
    require_paths(config)
    encoding = known_encoding(settings.encoding)
    output = config.output.url.rstrip("/")
    refuse_secrets(output)
    storage = storage or storage_of(config)
    config = build_config(config)
    config = learn_conditions(config, storage)
    index = _index_kind(settings.index, output, storage)
    plan = BankPlan(config, Reading(settings.column, config.input.caption, encoding))
    found = list(leases(config.input.urls, storage, plan.reading, lease_bytes=settings.lease_bytes))
    for lease in found:
        refuse_secrets(lease.url)
    ledger = Ledger(storage, config.output.url)
    for lease_id in ledger.quarantined():
        ledger.release(lease_id)
    work = Work(lambda: found, plan, plan.config_digest, plan.shaping)
    summary = run_work(work, config, storage, observe=observe, stop=stop, fleet=fleet)
    if summary.status == "over_budget":
        failed = f"{len(summary.quarantined)} of {summary.shards['manifest']} leases could not be read"
        summary = replace(summary, message=f"{failed}: the same `curator bank build` tries them again")
    if summary.status != "complete" or config.input.max_shards is not None:
        return summary, None
    named = config.encoder.model_dump(include={"name", "pretrained", "precision"})
    if not summary.this_run["shards"] and plan.shaping["encoder"] != named:
        # No worker has opened the local weights, which only their digest tells from those that made the bank.
        ledger.check_run({"encoder_digest": open_encoder(config).digest}, plan.shaping)
    provenance = (ledger.run() or {})["provenance"]
    facts = merge(
        output, ledger, found, storage,
        provenance=provenance, index=index, cache_dir=config.encoder.cache_dir,
    )  # fmt: skip
    return summary, facts


def _index_kind(asked: str | None, output: str, storage: Storage) -> str | None:
    """The kind of index to build: what was asked for, else that of the bank which is built again. ConfigError."""
    present = None if asked else present_at(output, storage)
    kind = asked or (present.index.kind if present is not None and present.index is not None else NO_INDEX)
    if kind == NO_INDEX:
        return None
    factory_of(kind, 1, 1)
    try:
        faiss_module()
    except ConfigError as error:
        raise ConfigError(f"{output}: {error}" + ("" if asked else f"; --index {NO_INDEX} drops that index")) from error
    if not asked:
        logger.info("%s keeps its %s index; --index %s drops it", redact(output), kind, NO_INDEX)
    return kind


def build_config(config: Config) -> Config:
    """The config of the run that makes the parts: its own output, and leases enough for every core to have one."""
    run, place = config.run, join(config.output.url.rstrip("/"), BUILD)
    if "in_flight" not in run.model_fields_set:
        run = run.model_copy(update={"in_flight": min(cores_of(config), _MOST_LEASES) + 1})
    return config.model_copy(update={"output": config.output.model_copy(update={"url": place}), "run": run})


def wire_bank(plan: BankPlan, encoder: Encoder, storage: Storage) -> BankWorker:
    """A worker around an open encoder and storage."""
    from curator.curation.bank_worker import BankWorker, BankWorkerSettings

    return BankWorker(
        storage=storage,
        encoder=encoder,
        provenance={
            **encoder.provenance(),
            "dim": str(encoder.dim),
            "config_digest": plan.config_digest,
            "curator": version("curator"),
        },
        settings=BankWorkerSettings(
            plan.config.output.url,
            plan.reading,
            lanes=lanes_of(plan.config, encoder, cores_of(plan.config)),
            lane_threads=1 if encoder.device.type == "cpu" else None,
        ),
    )


def with_encoder_of(facts: BankFacts, config: Config) -> Config:
    """The config with the encoder that made a bank, where it names none itself."""
    if "name" in config.encoder.model_fields_set:
        return config
    whole = facts.encoder.startswith(("hf-hub:", "local-dir:"))
    name, _, pretrained = (facts.encoder, "", "") if whole else facts.encoder.partition(":")
    encoder = {**config.encoder.model_dump(), "name": name, "pretrained": pretrained or None}
    if config.encoder.precision == "auto":
        encoder["precision"] = facts.precision
    return Config.model_validate({**config.model_dump(), "encoder": encoder})
