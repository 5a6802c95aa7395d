"""Counts over the parts of a finished run as work that the engine drives: a lease is a part, its counts are a file.

Owns what makes counts exact: a part's counts are published in one step, then its receipt; only receipts are merged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from curator.config import Config, digest_of
from curator.curation.counts import Counting, PartCounter, PartCounts, from_bytes, to_bytes
from curator.curation.leases import LeasedWorker
from curator.curation.relabel import source_shards
from curator.data import Lease, Receipt
from curator.engine.commit import create_receipt
from curator.engine.compose import storage_of
from curator.engine.fleet import Fleet
from curator.engine.ledger import Ledger, version_of
from curator.engine.progress import Progress, Summary
from curator.engine.run import Work, ignore_progress, learn_conditions, run_work
from curator.engine.wait import warn_unless_ended
from curator.errors import ConfigError
from curator.kernels.concepts import ConceptTexts
from curator.storage import Storage, join
from curator.tables.readers import Part, part_url
from curator.wordnet.lexicon import lexicon

FORMAT = 1
FOLDER = "_counts"


@dataclass(frozen=True, slots=True)
class CountPlan:
    """All that a counting worker needs to build itself, anywhere."""

    config: Config
    counting: Counting
    source_digests: Mapping[str, str]

    @property
    def shaping(self) -> dict[str, Any]:
        """What shapes the counts, by the options of ``curator concepts``: what a user is told of where they differ."""
        counting = self.counting
        concepts = f"{len(counting.concepts)} concepts ({digest_of(list(counting.concepts))})"
        options = {
            "--concepts": concepts if counting.concepts else None,
            "--images": counting.images_column,
            "--min-score": counting.min_score,
            "--text": counting.rule,
            "--count": ", ".join(counting.columns),
            "--ngrams": counting.ngrams,
        }
        return {"format": FORMAT, "source": dict(self.source_digests), **options}

    @property
    def digested(self) -> dict[str, Any]:
        """What ``config_digest`` is of; outputs that were begun before there was ``shaping`` recorded this."""
        return {"format": FORMAT, "source": dict(self.source_digests), "counting": digest_of(asdict(self.counting))}

    @property
    def config_digest(self) -> str:
        return digest_of(self.digested)

    def __call__(self) -> CountWorker:
        return CountWorker(self, storage_of(self.config))


def count(
    plan: CountPlan,
    storage: Storage,
    *,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    fleet: Fleet | None = None,
) -> Summary:
    """Count the parts of the plan's run that are not counted yet; ``done_counts`` gives the counts afterwards.

    Resumable: what a killed driver left is either whole, with a receipt, or done again. A part that changed is counted
    anew, one that is gone no longer counts, one that could not be read is tried again each time. ConfigError where the
    output was begun with other settings.
    """
    ledger = Ledger(storage, plan.config.output.url)
    for shard_id in ledger.quarantined():
        ledger.release(shard_id)
    before = ledger.run()
    if before is not None and before["config"].get("source") != dict(plan.source_digests):
        raise ConfigError(
            f"{output_of(plan)}: holds the counts of another run than {plan.config.input.run}; choose a new output"
        )
    shaping = plan.digested if before is not None and "counting" in before["config"] else plan.shaping
    work = Work(lambda: source_shards(plan.config, storage), plan, plan.config_digest, shaping)
    return run_work(work, plan.config, storage, observe=observe, stop=stop, fleet=fleet)


def output_of(plan: CountPlan) -> str:
    """What the user named as output: the tables stand there, and the counts of the parts in a folder below."""
    return plan.config.output.url.removesuffix(f"/{FOLDER}")


def plan_count(config: Config, counting: Counting, storage: Storage) -> CountPlan:
    """The plan of counting ``config.input.run`` into a folder of its own below ``config.output.url``."""
    source, output = config.input.run.rstrip("/"), config.output.url.rstrip("/")
    if not output:
        raise ConfigError("no output: give --output DIRECTORY or an s3:// prefix")
    if Ledger(storage, output).run() is not None:
        raise ConfigError(f"{output}: is a run's output, among whose parts counts cannot stand; choose another output")
    run = Ledger(storage, source).begun()
    warn_unless_ended(source, storage)
    settings = config.model_dump()
    settings["output"]["url"] = join(output, FOLDER)
    settings["run"]["prune"] = True  # what is no longer in the run must not count
    return CountPlan(learn_conditions(Config.model_validate(settings), storage), counting, run["digests"])


def done_counts(plan: CountPlan, storage: Storage) -> Iterator[pa.Table]:
    """The counts of every part that has a receipt, each of the very content that the receipt speaks of."""
    output = plan.config.output.url
    for receipt in Ledger(storage, output).receipts():
        url = part_url(output, receipt.shard_id)
        table, footer = from_bytes(storage.read(url))
        expected = version_of(receipt.size, receipt.etag)
        if footer.get("source_version") != expected:
            raise ConfigError(
                f"{url}: counts another content of its part ({footer.get('source_version')}, its receipt says "
                f"{expected}); another job wrote here at the same time: remove {output} and run again"
            )
        yield table


class CountWorker(LeasedWorker):
    """Counts parts, several at once if asked to. Nothing half-written stays: a part's counts are one small object."""

    def __init__(self, plan: CountPlan, storage: Storage) -> None:
        super().__init__("label")
        self.provenance = {"config_digest": plan.config_digest, "curator": version("curator")}
        self._source = plan.config.input.run.rstrip("/")
        self._output = plan.config.output.url
        self._storage = storage
        self._ledger = Ledger(storage, self._output)
        self._counter = PartCounter(plan.counting, concept_texts(plan.counting))

    def process(self, lease: Lease) -> Receipt:
        """Count one part and make it done: its counts, then the receipt. Raises a verdict."""
        started = time.perf_counter()
        counts = PartCounts()
        with self._leases.open(lease) as progress:
            entry = self._storage.stat(part_url(self._source, lease.shard.id))
            with Part(entry, self._storage) as part:
                for batch in part.batches(self._counter.columns(part)):
                    self._leases.check(progress)
                    self._counter.add(batch, counts)
                    progress.rows = counts.rows
                    progress.passed("label")
                if counts.rows != part.rows:
                    raise RuntimeError(f"{part.url}: {part.rows} rows, of which {counts.rows} were counted")
        counted_s = time.perf_counter() - started
        footer = {"source_version": version_of(entry.size, entry.etag) or "", "shard_url": lease.shard.url}
        written = self._storage.write(
            part_url(self._output, lease.shard.id), to_bytes(counts.table(), {**footer, **self.provenance})
        )
        written_s = time.perf_counter() - started - counted_s
        return create_receipt(
            self._ledger, written, lease, entry,
            rows=counts.rows, reasons={}, started=started, config_digest=self.provenance["config_digest"],
            seconds={"device": 0.0, "label": counted_s, "write": written_s},
        )  # fmt: skip


def concept_texts(counting: Counting) -> ConceptTexts | None:
    """The concepts of ``counting`` by their texts; None where there are none. ConfigError for one without words."""
    if not counting.concepts:
        return None
    texts = [(name, *aliases) for _, name, aliases in counting.concepts]
    try:
        return ConceptTexts(texts, lexicon().classes.base, counting.rule)
    except ValueError as error:
        raise ConfigError(f"concepts: {error}; remove it or give it a name with letters") from error
