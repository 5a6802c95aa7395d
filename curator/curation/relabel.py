"""Labels a finished run again from its stored embeddings: what such a run does, and when it may not begin.

Owns no loop and no retry: the engine drives it as it drives the main job, a lease is a part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from curator.config import Config, digest_of
from curator.data import Shard
from curator.engine.annotations import Annotations, open_annotations, read_annotations
from curator.engine.compose import cores_of, open_encoder, reopened, storage_of, with_recorded_encoder
from curator.engine.encoders import open_further
from curator.engine.fleet import Fleet
from curator.engine.ledger import Ledger
from curator.engine.preview import Preview, preview, preview_label
from curator.engine.progress import Progress, Summary
from curator.engine.run import Work, ignore_progress, label, learn_conditions, run_work
from curator.engine.wait import warn_unless_ended
from curator.errors import ConfigError
from curator.storage import Storage
from curator.tables.readers import part_url, parts
from curator.tables.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from curator.curation.relabel_worker import RelabelWorker
    from curator.encoder import Encoder


@dataclass(frozen=True, slots=True)
class RelabelPlan:
    """All that a relabelling worker needs to build itself, anywhere. ``precision`` is that of the stored embeddings."""

    config: Config
    shaping: Mapping[str, Any]
    annotations: Annotations
    encoder_digest: str
    precision: str

    @property
    def config_digest(self) -> str:
        return digest_of(self.shaping)

    def __call__(self) -> RelabelWorker:
        return wire_relabel(self, open_encoder(self.config), storage_of(self.config))


def relabel(
    config: Config,
    *,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    fleet: Fleet | None = None,
    storage: Storage | None = None,
) -> Summary:
    """Write ``config.output.url`` from the parts of ``config.input.run``: same rows, other labels.

    Label sets and annotators of the same name are replaced, others are kept. The encoder, for the text of the labels,
    is that of the run unless the config names one; its weights must be those that made the embeddings. Resumable, and
    a part that changed in the source is done again, as in the main job. ConfigError where the run cannot begin.
    """
    plan, storage = plan_relabel(config, storage)
    plan = replace(plan, config=learn_conditions(plan.config, storage))
    return run_work(_work(plan, storage), plan.config, storage, observe=observe, stop=stop, fleet=fleet)


def preview_run(config: Config) -> Preview:
    """What the run that ``config`` describes would do, whichever kind it is. Reads, and changes nothing."""
    if not config.input.run:
        return preview_label(config)
    plan, storage = plan_relabel(config)
    return preview(_work(plan, storage), plan.config, storage)


def _work(plan: RelabelPlan, storage: Storage) -> Work:
    return Work(lambda: source_shards(plan.config, storage), plan, plan.config_digest, plan.shaping)


def start_again(config: Config, *, observe: Callable[[Progress], None], stop: threading.Event | None) -> Summary:
    """The run that ``config`` describes, whichever kind it is: what ``curator retry`` resumes."""
    return (relabel if config.input.run else label)(config, observe=observe, stop=stop)


def plan_relabel(config: Config, storage: Storage | None = None) -> tuple[RelabelPlan, Storage]:
    """Read what the driver must read: vocabularies, and which encoder made the source's embeddings."""
    source, output = config.input.run.rstrip("/"), config.output.url.rstrip("/")
    if not source:
        raise ConfigError("no run to relabel: give the output of a run (input.run)")
    if not output:
        raise ConfigError("no output: give --output DIRECTORY or an s3:// prefix")
    if source == output:
        raise ConfigError(f"{output}: a run cannot be relabelled in place; choose another output, then remove the old")
    storage = storage or storage_of(config)
    run = Ledger(storage, source).begun()
    warn_unless_ended(source, storage)
    digests = run["digests"]
    settled = with_recorded_encoder(config, run["settings"], digests["precision"])
    annotations = read_annotations(settled, storage)
    if not annotations:
        raise ConfigError(
            "no label set: give --vocabulary FILE, or [[labels]], [[free]], [[entities]] or [[scores]] in the config"
        )
    annotations.refuse_images()
    shaping = {
        "schema_version": SCHEMA_VERSION,
        "source": digests,
        "encoder": settled.encoder.shaping(),
        **annotations.shaping(settled.shaping()["labels"]),
    }
    return RelabelPlan(settled, shaping, annotations, digests["encoder_digest"], digests["precision"]), storage


def encoder_of_run(config: Config, storage: Storage) -> Encoder:
    """The open encoder that made the embeddings of ``config.input.run``, for texts. ConfigError where it is not there.

    It is the run's unless the config names one; its weights must be those of the run.
    """
    ledger = Ledger(storage, config.input.run.rstrip("/"))
    return reopened(config, ledger.begun(), ledger.output)


def source_shards(config: Config, storage: Storage) -> Iterator[Shard]:
    """The shards that are done in the source, each with the size and ETag of its part, in order of shard id.

    ``input.urls`` of the labelling run, which a shared config names, say nothing here; those of a ``partial`` input do.
    A part that is gone although its shard is done has neither: its lease fails and says so.
    """
    source, wanted = config.input.run, set(config.input.urls if config.input.partial else ())
    entries = {entry.url.rsplit("/", 1)[-1]: entry for entry in parts(source, storage)}
    ledger = Ledger(storage, source)
    newest = {shard_id: versions[-1:] for shard_id, versions in ledger.done().items()}
    for receipt in ledger.receipts(newest):
        if wanted and receipt.url not in wanted:
            continue
        entry = entries.get(part_url(source, receipt.shard_id).rsplit("/", 1)[-1])
        yield Shard(receipt.url, entry.size, entry.etag) if entry else Shard(receipt.url)


def wire_relabel(plan: RelabelPlan, encoder: Encoder, storage: Storage) -> RelabelWorker:
    """A worker around an open encoder and storage. ConfigError where the encoder is not that of the embeddings."""
    from curator.curation.relabel_worker import RelabelSettings, RelabelWorker

    config = plan.config
    if encoder.digest != plan.encoder_digest:
        raise ConfigError(
            f"{config.input.run}: its embeddings were made by an encoder with the digest {plan.encoder_digest}, the "
            f"text of the labels would be by {encoder.name} ({encoder.digest}); name the encoder of that run"
        )
    further = open_further(config, encoder, plan.annotations.used_encoders)
    for name, other in further.items():
        if other.digest != plan.shaping["source"].get(f"encoder_digest.{name}"):
            raise ConfigError(f"{config.input.run}: has no embeddings of {other.name} ({other.digest}) as {name!r}")
    heads = open_annotations(
        plan.annotations, encoder, storage, cache_dir=config.encoder.cache_dir, cores=cores_of(config),
        further=further, embeds=False,
    )  # fmt: skip
    return RelabelWorker(
        storage=storage,
        device=encoder.device,
        heads=heads,
        columns=[column for each in heads for column in each.columns],
        provenance={
            **{name: digest for name, digest in plan.shaping["source"].items() if name.startswith("encoder_digest.")},
            **plan.annotations.provenance(heads),
            "encoder_digest": encoder.digest,
            "precision": plan.precision,
            "text_precision": encoder.precision,
            "config_digest": plan.config_digest,
            "curator": version("curator"),
        },
        settings=RelabelSettings(
            source=config.input.run.rstrip("/"),
            output=config.output.url,
            encoder_digest=plan.encoder_digest,
            label_sets=plan.annotations.names,
            further={name: other.digest for name, other in further.items()},
            row_group_rows=config.output.row_group_rows,
        ),
    )
