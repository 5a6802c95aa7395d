"""The library's front door to the main job. Owns the friendly arguments and nothing of the work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from curator import config as settings_of
from curator.config import Config, with_annotators
from curator.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow.dataset

    from curator.engine.progress import Progress, Summary
    from curator.shards.pack import Packed


Place: TypeAlias = "str | os.PathLike[str]"

Words: TypeAlias = "str | Mapping[str, Any]"

Vocabulary: TypeAlias = "Place | Sequence[str | Mapping[str, Any]]"
"""A file of labels, or the labels themselves."""


def label(
    input: Place | Sequence[Place] | None = None,
    output: Place | None = None,
    *,
    vocabulary: Vocabulary | None = None,
    free: Sequence[Words] = (),
    entities: Sequence[Words] = (),
    scores: Sequence[Words] = (),
    config: Config | Mapping[str, Any] | Place | None = None,
    overrides: Sequence[str] = (),
    observe: Callable[[Progress], None] | None = None,
    **sections: Mapping[str, Any],
) -> Summary:
    """Label shards and return how the run ended; run it again to resume.

    ``input``: paths, urls, brace patterns, globs, prefixes or @lists; ``output``: a directory or s3:// prefix;
    ``vocabulary``: a label file or a list of labels, for a label set named ``labels``. ``free``, ``entities`` and
    ``scores`` are annotators in words (``"cased,top_k=3"``) or as settings (``{"name": …, "method": …}``). ``config``
    (a Config, a TOML file or its url, or its tables as a dict), ``overrides`` (``"encoder.batch_size=128"``) and
    ``sections`` (``encoder={"name": "ViT-B-32"}``) give all else.

    Raises ConfigError before any work where the run cannot begin; look at ``summary.status`` for how it ended.

        summary = curator.label("shards/{000..099}.tar", "out", vocabulary=["dog", "cat"], free=["cased"])
    """
    from curator.engine.run import ignore_progress
    from curator.engine.run import label as start

    urls = [] if input is None else [_place("input", each) for each in _several("input", input)]
    given = {"input": {"urls": urls}} if urls else {}
    annotators = {"free": free, "entities": entities, "scores": scores}
    settings = with_annotators(_settings(given, output, vocabulary, config, overrides, sections), annotators)
    return start(settings, observe=_called(observe) or ignore_progress)


def relabel(
    run: Place,
    output: Place | None = None,
    *,
    vocabulary: Vocabulary | None = None,
    free: Sequence[Words] = (),
    entities: Sequence[Words] = (),
    scores: Sequence[Words] = (),
    config: Config | Mapping[str, Any] | Place | None = None,
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
    given = {"input": {"run": _place("run", run)}}
    settings = with_annotators(_settings(given, output, vocabulary, config, overrides, sections), annotators)
    return start(settings, observe=_called(observe) or ignore_progress)


def pack(
    images: Place, output: Place, *, max_samples: int = 1000, max_bytes: int = 256 << 20, prune: bool = False
) -> Packed:
    """Make shards of a folder of images, with the captions (``.txt``) and metadata (``.json``) beside them.

    Run again, it writes only what has changed. Shards of an earlier call that no image is left for are refused, or
    removed with ``prune``. ConfigError where the folder holds no image.
    """
    from curator.shards.pack import pack as start
    from curator.storage import open_storage

    folder, shards = _place("images", images), _place("output", output)
    return start(folder, shards, open_storage(), max_samples=max_samples, max_bytes=max_bytes, prune=prune)


def load_config(
    path: Place | None = None, *, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> Config:
    """A checked Config from a TOML file (a path or url), ``key.path=value`` overrides and nested values, in order.

    Relative paths start where the file lies that names them, those of overrides and values at the working directory.
    Raises ConfigError that names the setting, what it may be, and the file's line.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides: give a list, for example [{overrides!r}], not {overrides!r}")
    place = None if path is None else _place("config", path)
    if place is not None and "://" in place:
        from curator.engine.compose import fetch_config

        return fetch_config(place, overrides=overrides, values=values)
    return settings_of.load_config(place, overrides=overrides, values=values)


def _settings(
    given: dict[str, Any],
    output: Place | None,
    vocabulary: Vocabulary | None,
    config: Config | Mapping[str, Any] | Place | None,
    overrides: Sequence[str],
    sections: Mapping[str, Mapping[str, Any]],
) -> Config:
    """The Config of friendly arguments: the file or Config first, then overrides, sections, and what was ``given``."""
    # What is no mapping is for the Config to refuse: a section's name spelled wrong, or "ViT-B-32" for a section.
    values: dict[str, Any] = {
        name: dict(section) if isinstance(section, Mapping) else section for name, section in sections.items()
    }
    if output is not None:
        given["output"] = {"url": _place("output", output)}
    for name, section in given.items():
        if isinstance(values.setdefault(name, {}), dict):
            values[name].update(section)
    path = None if config is None or isinstance(config, (Config, Mapping)) else config
    tables = config.model_dump(exclude_unset=True) if isinstance(config, Config) else config
    if isinstance(tables, Mapping):
        values = {
            **tables,
            **{
                name: {**tables[name], **section}
                if isinstance(section, Mapping) and isinstance(tables.get(name), Mapping)
                else section
                for name, section in values.items()
            },
        }
    settings = load_config(path, overrides=overrides, values=values)
    return settings if vocabulary is None else with_vocabulary(settings, vocabulary)


def with_vocabulary(config: Config, vocabulary: Vocabulary, **settings: Any) -> Config:
    """The config with a label set named ``labels`` over a vocabulary, in place of one of that name."""
    kept = [each.model_dump() for each in config.labels if each.name != "labels"]
    labels = [*kept, {"vocabulary": vocabulary, **settings}]
    return settings_of.load_config(values={**config.model_dump(exclude_unset=True), "labels": labels})


def open_dataset(output: Place) -> pyarrow.dataset.Dataset:
    """A run's local output as one Arrow dataset, the ledger left out. Columns: ``curator schema``.

    ConfigError where it holds no rows; ShardError where a part cannot be read.
    """
    import pyarrow
    import pyarrow.dataset

    from curator.storage import open_storage
    from curator.storage.urls import absolute, is_path
    from curator.tables.readers import PartError, parts

    place = _place("output", output)
    if not is_path(place):
        raise ConfigError(
            f"{place}: only local outputs are opened here; elsewhere use pyarrow.dataset.dataset with its filesystem, "
            "format='parquet'"
        )
    found = [entry.url for entry in parts(absolute(place), open_storage())]
    if not found:
        raise ConfigError(f"{place}: holds no part-*.parquet; give the output of a run of which a shard is done")
    try:
        return pyarrow.dataset.dataset(found, format="parquet")
    except (pyarrow.ArrowException, OSError) as error:
        raise PartError(f"{place}: a part cannot be read ({error}); `curator verify {place}` says which") from error


def _several(name: str, given: Any) -> Sequence[Any]:
    if isinstance(given, (str, os.PathLike)):
        return [given]
    if isinstance(given, (list, tuple)):
        return given
    raise ConfigError(f"{name}: give a path or url, or a list of them, not {given!r}")


def _place(name: str, given: Any) -> str:
    if isinstance(given, (str, os.PathLike)):
        place = os.fspath(given)
        if isinstance(place, str):
            return place
    raise ConfigError(f"{name}: give a path or url, not {given!r}")


def _called(observe: Any) -> Any:
    if observe is None or callable(observe):
        return observe
    raise ConfigError(f"observe: give a function of the progress, not {observe!r}")
