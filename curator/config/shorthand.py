"""Annotators in a few words, as a command line gives them: ``cased,bank=s3://b/bank,top_k=3``. Knows no method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from curator.config.loading import load_config, toml_value
from curator.config.sections import AnnotatorConfig, Config
from curator.errors import ConfigError

_NEXT_OPTION = re.compile(r",(?=[a-z_]+=)")
_QUOTED = re.compile(r'"[^"]*"')


def parse_annotator(text: str, section: str) -> AnnotatorConfig:
    """METHOD[,OPTION=VALUE…] as an annotator of ``section``.

    The option ``name`` says what its columns begin with, ``encoder`` names one of the further encoders.
    Without a name that is the section's, for scores the method's. Values are TOML, or text. Raises ConfigError.
    """
    method, *pairs = _split(text)
    options: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        options[key] = toml_value(value)
    if not re.fullmatch(r"[a-z_]+", method):
        raise ConfigError(f"{section} {text!r}: write METHOD or METHOD,OPTION=VALUE, for example cased,top_k=3")
    name = options.pop("name", method if section == "scores" else section)
    encoder = options.pop("encoder", "")
    return AnnotatorConfig(name=str(name), method=method, encoder=str(encoder), options=options)


def _split(text: str) -> list[str]:
    """``text`` at the commas before its options: not at those within a table or list, as in ``{en=0.3,other=0.2}``."""
    parts = [""]
    for piece in _NEXT_OPTION.split(text):
        bare = _QUOTED.sub("", parts[-1])
        within = bare.count("{") + bare.count("[") > bare.count("}") + bare.count("]")
        parts = [*parts[:-1], f"{parts[-1]},{piece}"] if within else [*parts, piece]
    return parts[1:]


def with_annotators(config: Config, given: Mapping[str, Sequence[str | Mapping[str, Any]]]) -> Config:
    """The config with annotators by section, in words or as settings, each in place of one of its name."""
    changed: dict[str, Any] = {}
    for section, texts in given.items():
        several = isinstance(texts, Sequence) and not isinstance(texts, str)
        if not several or not all(isinstance(each, (str, Mapping)) for each in texts):
            raise ConfigError(f"{section}: give a list, for example {section}=['METHOD'], not {texts!r}")
        added = [parse_annotator(each, section).model_dump() if isinstance(each, str) else dict(each) for each in texts]
        names = {each.get("name") for each in added}
        if len(names) < len(added):
            twice = next(each for each in names if [other.get("name") for other in added].count(each) > 1)
            raise ConfigError(f"two of {section} are named {twice!r}: give each its own name, as in METHOD,name=NAME")
        kept = [each.model_dump() for each in getattr(config, section) if each.name not in names]
        if added:
            changed[section] = [*kept, *added]
    return load_config(values={**config.model_dump(exclude_unset=True), **changed}) if changed else config
