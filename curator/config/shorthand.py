"""Annotators in a few words, as a command line gives them: ``cased,bank=s3://b/bank,top_k=3``. Knows no method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from curator.config.loading import load_config, toml_value
from curator.config.sections import AnnotatorConfig, Config
from curator.errors import ConfigError

_NEXT_OPTION = re.compile(r",(?=[a-z_]+=)")


def parse_annotator(text: str, section: str) -> AnnotatorConfig:
    """METHOD[,OPTION=VALUE…] as an annotator of ``section``; the option ``name`` says what its columns begin with.

    Without it that is the section's name, for scores the method's. Values are TOML, or text. Raises ConfigError.
    """
    method, *pairs = _NEXT_OPTION.split(text)
    options: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        options[key] = toml_value(value)
    if not re.fullmatch(r"[a-z_]+", method):
        raise ConfigError(f"{section} {text!r}: write METHOD or METHOD,OPTION=VALUE, for example cased,top_k=3")
    name = options.pop("name", method if section == "scores" else section)
    return AnnotatorConfig(name=str(name), method=method, options=options)


def with_annotators(config: Config, given: Mapping[str, Sequence[str | Mapping[str, Any]]]) -> Config:
    """The config with annotators by section, in words or as settings, each in place of one of its name."""
    changed: dict[str, Any] = {}
    for section, texts in given.items():
        added = [parse_annotator(each, section).model_dump() if isinstance(each, str) else dict(each) for each in texts]
        names = {each.get("name") for each in added}
        kept = [each.model_dump() for each in getattr(config, section) if each.name not in names]
        if added:
            changed[section] = [*kept, *added]
    return load_config(values={**config.model_dump(), **changed}) if changed else config
