"""The configuration of a run as models, a section each: names, defaults, bounds. Knows no file and no room."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values are never changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class InputConfig(Section):
    """Which shards, and what of their samples."""

    urls: tuple[str, ...] = Field((), description="shards: paths, urls, braces, globs, prefixes, @lists")
    run: str = Field("", description="relabel: the output of the run whose embeddings are labelled again")
    caption: str = Field("txt", description="where the caption is: an extension, or json.<field> (nested by dots)")
    image: str = Field("", description="which image of a sample with several, by extension: png, left.jpg; the first")
    salvage: bool = Field(False, description="keep the whole samples before the cut of a damaged shard")
    max_member_bytes: int = Field(256 * 2**20, gt=0, description="a larger member makes its sample a reject")
    max_text_bytes: int = Field(2**20, gt=0, le=2**20, description="likewise a longer caption or json member")
    partial: bool = Field(False, description="the input is a part of the dataset: what it lacks has not vanished")
    since: str | None = Field(None, description="only shards whose name sorts after this one")
    max_shards: int | None = Field(None, gt=0, description="at most so many shards in this run")

    @field_validator("urls", mode="before")
    @classmethod
    def _one_or_many(cls, urls: Any) -> Any:
        return (urls,) if isinstance(urls, str) else urls


class OutputConfig(Section):
    """Where the dataset goes and how it is stored."""

    url: str = Field("", description="directory or prefix of the dataset")
    embedding_dtype: Literal["float16", "float32"] = "float16"
    row_group_rows: int = Field(8192, gt=0)


class StorageConfig(Section):
    """How storage is reached. Credentials never stand here: they come by boto3's own chain."""

    endpoint_url: str | None = None
    region: str | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    anonymous: bool = False
    profile: str | None = None
    requester_pays: bool = False
    connect_timeout_s: float = Field(10.0, gt=0)
    read_timeout_s: float = Field(60.0, gt=0)
    attempts: int = Field(5, gt=0, description="tries of one request")
    backoff_s: float = Field(0.5, ge=0)
    backoff_cap_s: float = Field(20.0, ge=0)
    pool_connections: int = Field(32, gt=0)
    part_bytes: int = Field(16 * 2**20, gt=0, description="of multipart uploads and of reads in parallel")
    read_ahead_parts: int = Field(4, ge=0, description="parts of one remote shard read in parallel; 0: one stream")
    conditional_writes: bool = Field(True, description="false: the S3 endpoint knows no If-None-Match; do not try it")
    schemes: tuple[str, ...] | None = Field(None, description="which url schemes may be used; all that are known")


class EncoderConfig(Section):
    """Which OpenCLIP weights, and how they run."""

    name: str = Field("embedded", description="an open_clip architecture, hf-hub:…, local-dir:…, or embedded")
    pretrained: str | None = Field(None, description="an open_clip tag or a weights file")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = Field("auto", description="auto | cpu | cuda | cuda:N")
    batch_size: int = Field(64, gt=0)
    compile: bool = False
    cache_dir: str | None = Field(None, description="where weights and text banks are kept; ~/.cache/curator")

    def shaping(self) -> dict[str, Any]:
        """What of it shapes rows. Where local weights lie does not: a run knows them by their digest."""
        return {**_by_name(self.name, self.pretrained), "precision": self.precision}


class FurtherEncoderConfig(Section):
    """One more encoder that sees the same pixels: its embeddings in a column of its own, on the same device."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$", description="its column is NAME_embedding; label sets name it so")
    encoder: str = Field(description="as encoder.name")
    pretrained: str | None = Field(None, description="as encoder.pretrained")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    def shaping(self) -> dict[str, Any]:
        """As ``EncoderConfig.shaping``."""
        known = _by_name(self.encoder, self.pretrained)
        return {"name": self.name, "encoder": known.pop("name"), **known, "precision": self.precision}


def _by_name(name: str, pretrained: str | None) -> dict[str, Any]:
    return {
        "name": "local-dir" if name.startswith("local-dir:") else name,
        "pretrained": "file" if pretrained is not None and pretrained.startswith("/") else pretrained,
    }


class DecodeConfig(Section):
    """How image bytes become pixels."""

    mode: Literal["exact", "close", "fast"] = "exact"
    max_pixels: int = Field(89_478_485, gt=0, description="larger images are rejected from their header")
    exif_orientation: bool = False
    workers: Literal["auto", "threads", "processes"] = Field(
        "auto", description="what decodes; auto: processes of their own, but a thread where it is only one"
    )
    threads: int | None = Field(None, gt=0, description="how many of them; default: the cores that the worker has")
    actors: int = Field(0, ge=0, description="CPU-only Ray actors that decode for each worker, on any node")
    image_limit_s: float = Field(30.0, gt=0, description="an image that takes longer is a reject")


class LabelSetConfig(Section):
    """One set of labels: its vocabulary, how it is scored and when it abstains."""

    name: str = "labels"
    vocabulary: str | tuple[Any, ...] = Field(description="text, JSON or TOML file of labels, or a list of them")
    templates: str = Field("photo", description="openai | simple | photo | plain, or a file with a template a line")
    head: str = "zero_shot"
    family: Literal["auto", "softmax", "sigmoid"] = "auto"
    top_k: int = Field(5, gt=0)
    min_score: float = Field(0.0, ge=0.0, le=1.0)
    min_margin: float = Field(0.0, ge=0.0, le=1.0)
    options: dict[str, Any] = Field(default_factory=dict, description="the head's own: see curator/labels/README.md")
    abstain: dict[str, Any] = Field(default_factory=dict, description="score, threshold: a column NAME_ood")
    encoder: str = Field("", description="one of [[encoders]] by its name, instead of the run's own")

    @field_validator("vocabulary", mode="before")
    @classmethod
    def _file_or_labels(cls, vocabulary: Any) -> Any:
        if not isinstance(vocabulary, (str, list, tuple)) or not vocabulary:
            raise ValueError(f"is {vocabulary!r}; it must be a file of labels, or a list such as ['dog', 'cat']")
        return vocabulary


class AnnotatorConfig(Section):
    """One more way to describe the images of a run: vocabulary-free labels, entities or scores."""

    name: str = Field(description="what its columns begin with")
    method: str = Field(description="see the README of curator/free, curator/entities or curator/scores")
    options: dict[str, Any] = Field(default_factory=dict, description="the method's own")
    encoder: str = Field("", description="one of [[encoders]] by its name, instead of the run's own")


class RunConfig(Section):
    """How the work is spread, tried and given up."""

    id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}$",
        description="name of this run: completed once, then never again",
    )
    backend: Literal["local", "ray"] = "local"
    in_flight: int = Field(2, gt=0, description="shards that one worker holds at a time")
    attempts: int = Field(3, gt=0)
    losses: int = Field(3, gt=1, description="worker deaths after which a shard is given up")
    backoff_s: float = Field(1.0, ge=0.0)
    stall_s: float = Field(300.0, gt=0, description="a lease that does not move for so long is taken away")
    silence_s: float = Field(60.0, gt=0, description="a worker that does not answer for so long is ended")
    heartbeat_s: float = Field(5.0, gt=0)
    startup_s: float = Field(900.0, gt=0)
    worker_losses: int = Field(10, gt=0, description="deaths in a row, for each worker of the fleet, that end the run")
    reject_budget: float = Field(0.05, ge=0.0, le=1.0, description="share of rejected samples that is still a success")
    quarantine_budget: float = Field(0.0, ge=0.0, le=1.0, description="share of quarantined shards, likewise")
    prune: bool = Field(False, description="remove the rows of shards that the input no longer names")
    max_seconds: float | None = Field(None, gt=0, description="stop cleanly after this time; resumable")
    grace_s: float = Field(30.0, gt=0)
    straggler_factor: float = Field(3.0, gt=1.0)
    lock_ttl_s: float = Field(60.0, gt=0)
    metrics_port: int | None = Field(None, gt=0, lt=65536, description="answer GET /metrics there, for Prometheus")
    metrics_host: str = Field("127.0.0.1", description="the address to answer at; 0.0.0.0: every one, as a pod needs")
    traces: bool = Field(False, description="send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT")


class RayConfig(Section):
    """What the actors ask Ray for. GPUs come from here, never from what the driver's node has."""

    address: str | None = None
    workers: int = Field(1, gt=0, description="actors at most; each is used as soon as it is there")
    min_workers: int = Field(1, gt=0, description="fewer than these for run.startup_s end the run")
    num_cpus: float = Field(1.0, gt=0)
    num_gpus: float = Field(0.0, ge=0)
    memory_gb: float | None = Field(None, gt=0)
    resources: dict[str, float] = Field(default_factory=dict)
    spread: bool = Field(True, description="actors on as many nodes as there are, rather than on few")

    @model_validator(mode="after")
    def _fewest_fit(self) -> RayConfig:
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers ({self.min_workers}) is more than workers ({self.workers})")
        return self


class Config(Section):
    """Everything a run needs to know."""

    input: InputConfig = InputConfig()
    output: OutputConfig = OutputConfig()
    storage: StorageConfig = StorageConfig()
    encoder: EncoderConfig = EncoderConfig()
    decode: DecodeConfig = DecodeConfig()
    encoders: tuple[FurtherEncoderConfig, ...] = ()
    labels: tuple[LabelSetConfig, ...] = ()
    free: tuple[AnnotatorConfig, ...] = ()
    entities: tuple[AnnotatorConfig, ...] = ()
    scores: tuple[AnnotatorConfig, ...] = ()
    run: RunConfig = RunConfig()
    ray: RayConfig = RayConfig()

    @field_validator("labels")
    @classmethod
    def _names_differ(cls, labels: tuple[LabelSetConfig, ...]) -> tuple[LabelSetConfig, ...]:
        names = [label_set.name for label_set in labels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two label sets are named {twice[0]!r}: give each its own name")
        return labels

    def shaping(self) -> dict[str, Any]:
        """The settings that shape rows, as far as they stand in the config: what two runs must share in one dataset.

        Files (vocabularies, templates, options that name one) are left out: their contents count, not where they lie.
        So are the annotators, which say themselves what shapes their columns.
        """
        files = {"vocabulary", "templates", "options", "abstain"}
        further = {"encoders": [each.shaping() for each in self.encoders]} if self.encoders else {}
        decode = self.decode.model_dump(include={"mode", "max_pixels", "exif_orientation"})
        image = {"image"} if self.input.image else set()
        shaping = {"caption", "salvage", "max_member_bytes", "max_text_bytes", *image}
        return {
            "input": self.input.model_dump(include=shaping),
            "output": self.output.model_dump(include={"embedding_dtype"}),
            "encoder": self.encoder.shaping(),
            **further,
            "decode": decode,
            "labels": [label_set.model_dump(exclude=files) for label_set in self.labels],
        }
