"""From a Config to objects, the rooms put together. Knows what a worker is made of and runs nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from curator.config import Config, digest_of, load_config
from curator.engine.annotations import Annotations, open_annotations, read_annotations
from curator.engine.compose_decoding import open_decoding
from curator.engine.encoders import open_further
from curator.engine.ledger import Ledger
from curator.errors import ConfigError, CuratorError
from curator.storage import Router, Storage, StorageOptions, open_storage
from curator.tables.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from curator.encoder import Encoder
    from curator.engine.backends.local import Worker
    from curator.engine.backends.ray import RayResources
    from curator.engine.worker import ShardWorker


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """All that a worker needs to build itself, anywhere: picklable, vocabularies inside, no credentials."""

    config: Config
    shaping: Mapping[str, Any]
    annotations: Annotations
    cores: int

    @property
    def config_digest(self) -> str:
        return digest_of(self.shaping)

    def __call__(self) -> Worker:
        return build_worker(self)


def storage_options(config: Config) -> StorageOptions:
    return StorageOptions(**config.storage.model_dump(exclude_none=True))


def storage_of(config: Config) -> Router:
    return open_storage(storage_options(config))


def fetch_config(url: str, *, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> Config:
    """``load_config`` of a TOML file at a url, read through the storage that the ``storage.…`` overrides describe."""
    reach = [override for override in overrides if override.strip().startswith("storage.")]
    try:
        content = storage_of(load_config(overrides=reach)).read(url)
    except CuratorError as error:
        raise ConfigError(f"{url}: the config cannot be read: {error}") from error
    return load_config(url, overrides=overrides, values=values, read=lambda _: content)


def plan_worker(config: Config, storage: Storage | None = None) -> WorkerPlan:
    """Read what the driver must read (vocabularies, templates): with it, all that shapes rows is known."""
    annotations = read_annotations(config, storage or storage_of(config))
    settings = config.shaping()
    shaping = {"schema_version": SCHEMA_VERSION, **settings, **annotations.shaping(settings["labels"])}
    return WorkerPlan(config, shaping, annotations, cores_of(config))


def cores_of(config: Config) -> int:
    """The cores that one worker may use: what Ray gives it, or all that this process may run on."""
    if config.run.backend == "ray":
        return max(1, int(config.ray.num_cpus))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ray_resources(config: Config) -> RayResources:
    from curator.engine.backends.ray import RayResources

    ray = config.ray
    return RayResources(
        workers=ray.workers,
        num_cpus=ray.num_cpus,
        num_gpus=ray.num_gpus,
        memory_bytes=None if ray.memory_gb is None else int(ray.memory_gb * 2**30),
        resources=ray.resources,
        spread=ray.spread,
    )


def build_worker(plan: WorkerPlan) -> ShardWorker:
    """A worker as the config describes it: loads the encoder, which takes a while. Raises ConfigError."""
    return wire_worker(plan, open_encoder(plan.config), storage_of(plan.config))


def open_encoder(config: Config) -> Encoder:
    """The config's encoder, on the cores that the config gives a worker."""
    from curator.encoder import Encoder
    from curator.engine.threads import use_cores

    use_cores(cores_of(config))
    return Encoder.open(
        config.encoder.name,
        config.encoder.pretrained,
        precision=config.encoder.precision,
        device=config.encoder.device,
        cache_dir=config.encoder.cache_dir,
        compile=config.encoder.compile,
    )


def reopened(config: Config, run: Mapping[str, Any], output: str) -> Encoder:
    """The open encoder that made the embeddings of the ``run`` that began at ``output``, for texts to meet them.

    It is the run's unless the config names one. ConfigError where its weights are not those of the run.
    """
    digests = run["digests"]
    encoder = open_encoder(with_recorded_encoder(config, run["settings"], digests["precision"]))
    if encoder.digest != digests["encoder_digest"]:
        raise ConfigError(
            f"{output}: its embeddings were made by an encoder with the digest {digests['encoder_digest']}, "
            f"and {encoder.name} has {encoder.digest}; name the encoder of that run"
        )
    return encoder


def run_encoder(output: str, storage: Storage) -> tuple[Config, Encoder]:
    """The settings of the run at ``output`` and its encoder, opened again for texts to meet its embeddings.

    ConfigError where no run has begun there, or where the encoder's weights are others by now.
    """
    run = Ledger(storage, output).begun()
    config = Config.model_validate(run["settings"])
    return config, reopened(config, run, output)


def with_recorded_encoder(config: Config, recorded: Mapping[str, Any], precision: str) -> Config:
    """The config with the run's encoders where it names none, at the run's precision where it does not say.

    ``recorded`` are the settings of the run.
    """
    encoder = config.encoder.model_dump()
    if "name" not in config.encoder.model_fields_set:
        encoder |= {name: recorded["encoder"][name] for name in ("name", "pretrained")}
    if encoder["precision"] == "auto":
        encoder["precision"] = precision
    further = config.model_dump()["encoders"] or recorded.get("encoders", ())
    return Config.model_validate({**config.model_dump(), "encoder": encoder, "encoders": further})


def lanes_of(config: Config, encoder: Encoder, cores: int) -> int:
    """How many batches a worker embeds at a time: several on a CPU, where each takes some of the cores."""
    return min(cores, 8) if encoder.device.type == "cpu" and not config.encoder.compile else 1


def wire_worker(plan: WorkerPlan, encoder: Encoder, storage: Storage) -> ShardWorker:
    """A worker around an open encoder and storage: loads or builds the text banks and puts the rooms together."""
    from curator.engine.intake import WorkerSettings
    from curator.engine.worker import ShardWorker
    from curator.tables.schema import build_schema

    config = plan.config
    decoding = open_decoding(config, encoder.preprocess, plan.cores)
    heads = open_annotations(
        plan.annotations, encoder, storage, cache_dir=config.encoder.cache_dir, cores=plan.cores,
        further=open_further(config, encoder, plan.annotations.encoders),
    )  # fmt: skip
    columns = [column for each in heads for column in each.columns]
    lanes = lanes_of(config, encoder, plan.cores)
    settings = WorkerSettings(
        batch_size=config.encoder.batch_size,
        row_group_rows=config.output.row_group_rows,
        caption=config.input.caption,
        image=config.input.image,
        salvage=config.input.salvage,
        max_member_bytes=config.input.max_member_bytes,
        max_text_bytes=config.input.max_text_bytes,
        cuda=encoder.device.type == "cuda",
        device_lanes=lanes,
        lane_threads=plan.cores // lanes if lanes > 1 else None,
        patches="patches" in plan.annotations.needs,
        device_wait_s=config.run.stall_s,
        read_attempts=config.storage.attempts,
        read_ahead_parts=config.storage.read_ahead_parts,
        read_ahead_bytes=config.storage.part_bytes,
    )
    return ShardWorker(
        storage=storage,
        output=config.output.url,
        pool=decoding(),
        encoder=encoder,
        heads=heads,
        columns=columns,
        schema=build_schema(encoder.dim, config.output.embedding_dtype, columns),
        provenance={
            **encoder.provenance(),
            **plan.annotations.provenance(heads),
            "config_digest": plan.config_digest,
            "curator": version("curator"),
            "pillow": version("pillow"),
        },
        settings=settings,
    )


def run_digests(provenance: Mapping[str, str]) -> dict[str, str]:
    """The digests among a worker's provenance that every worker of a dataset must share."""
    shared = {"encoder_digest", "precision", "config_digest"}
    return {
        name: value
        for name, value in provenance.items()
        if name in shared or name.startswith(("vocabulary_digest.", "head_digest.", "encoder_digest."))
    }


def require_paths(config: Config) -> None:
    """ConfigError unless the run knows its input and its output."""
    if not config.input.urls:
        raise ConfigError("no input: give --input SHARDS (a path, url, brace pattern, glob or @list)")
    if config.decode.actors and config.run.backend != "ray":
        raise ConfigError("decode.actors are Ray actors: set run.backend to ray, or decode.actors to 0")
    if not config.output.url:
        raise ConfigError("no output: give --output DIRECTORY or an s3:// prefix")
