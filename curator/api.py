"""The library's front door to the main job. Owns the friendly arguments and nothing of the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from curator.config import Config, load_config, with_annotators

if TYPE_CHECKING:
    import pyarrow.dataset

    from curator.engine.progress import Progress, Summary


Words: TypeAlias = "str | Mapping[str, Any]"


def label(
    input: str | Sequence[str] | None = None,
    output: str | Path | None = None,
    *,
    vocabulary: str | Path | None = None,
    free: Sequence[Words] = (),
    entities: Sequence[Words] = (),
    scores: Sequence[Words] = (),
    config: Config | str | Path | None = None,
    overrides: Sequence[str] = (),
    observe: Callable[[Progress], None] | None = None,
    **sections: Mapping[str, Any],
) -> Summary:
    """Label shards and return how the run ended; run it again to resume.

    ``input``: paths, urls, brace patterns, globs, prefixes or @lists; ``output``: a directory or s3:// prefix;
    ``vocabulary``: a label file, for a label set named ``labels``. ``free``, ``entities`` and ``scores`` are annotators
    in words (``"cased,top_k=3"``) or as settings (``{"name": …, "method": …, "options": …}``). ``config`` (a Config, a
    TOML file or its url), ``overrides`` (``"encoder.batch_size=128"``) and ``sections`` (``encoder={"name":
    "ViT-B-32"}``) give all else.

    Raises ConfigError before any work where the run cannot begin; look at ``summary.status`` for how it ended.

        summary = curator.label("shards/{000..099}.tar", "out", vocabulary="labels.txt", free=["cased"])
    """
    from curator.engine.run import ignore_progress
    from curator.engine.run import label as start

    urls = [] if input is None else [input] if isinstance(input, str) else list(input)
    given = {"input": {"urls": urls}} if urls else {}
    annotators = {"free": free, "entities": entities, "scores": scores}
    settings = with_annotators(_settings(given, output, vocabulary, config, overrides, sections), annotators)
    return start(settings, observe=observe or ignore_progress)


def relabel(
    run: str | Path,
    output: str | Path | None = None,
    *,
    vocabulary: str | Path | None = None,
    free: Sequence[Words] = (),
    entities: Sequence[Words] = (),
    scores: Sequence[Words] = (),
    config: Config | str | Path | None = None,
    overrides: Sequence[str] = (),
    observe: Callable[[Progress], None] | None = None,
    **sections: Mapping[str, Any],
) -> Summary:
    """Label the embeddings of a finished run again, into another output; the other arguments are those of ``label``.

    summary = curator.relabel("out", "out2", vocabulary="other-labels.txt")
    """
    from curator.curation.relabel import relabel as start
    from curator.engine.run import ignore_progress

    annotators = {"free": free, "entities": entities, "scores": scores}
    given = {"input": {"run": str(run)}}
    settings = with_annotators(_settings(given, output, vocabulary, config, overrides, sections), annotators)
    return start(settings, observe=observe or ignore_progress)


def _settings(
    given: dict[str, Any],
    output: str | Path | None,
    vocabulary: str | Path | None,
    config: Config | str | Path | None,
    overrides: Sequence[str],
    sections: Mapping[str, Mapping[str, Any]],
) -> Config:
    """The Config of friendly arguments: the file or Config first, then overrides, sections, and what was ``given``."""
    # What is no mapping is for the Config to refuse: a section's name spelled wrong, or "ViT-B-32" for a section.
    values: dict[str, Any] = {
        name: dict(section) if isinstance(section, Mapping) else section for name, section in sections.items()
    }
    for name, section in given.items():
        values.setdefault(name, {}).update(section)
    if output is not None:
        values.setdefault("output", {})["url"] = str(output)
    if isinstance(config, Config):
        values = {**config.model_dump(exclude_unset=True), **values}
    path = config if isinstance(config, (str, Path)) else None
    if "://" in str(path):
        from curator.engine.compose import fetch_config

        settings = fetch_config(str(path), overrides=overrides, values=values)
    else:
        settings = load_config(path, overrides=overrides, values=values)
    return settings if vocabulary is None else with_vocabulary(settings, str(vocabulary))


def with_vocabulary(config: Config, vocabulary: str, **settings: Any) -> Config:
    """The config with a label set named ``labels`` over a vocabulary file, in place of one of that name."""
    kept = [each.model_dump() for each in config.labels if each.name != "labels"]
    return load_config(
        values={**config.model_dump(exclude_unset=True), "labels": [*kept, {"vocabulary": vocabulary, **settings}]}
    )


def open_dataset(output: str | Path) -> pyarrow.dataset.Dataset:
    """A run's local output as one Arrow dataset, the ledger left out. Columns: ``curator schema``."""
    import pyarrow.dataset

    return pyarrow.dataset.dataset(str(output), format="parquet")
