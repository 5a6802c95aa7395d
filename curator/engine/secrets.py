"""Keeps secrets out of what a run records: its settings stand in run.json, and shape its digest. Knows no storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curator.config import Config
from curator.errors import ConfigError
from curator.storage.urls import refuse_secrets


def refuse_secret_settings(config: Config) -> None:
    """ConfigError, which names the setting, where one is a url with a password or a signature in it."""
    for name, text in _texts(config.model_dump(), ""):
        try:
            refuse_secrets(text.removeprefix("@"))  # an input may be a list of inputs
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, (dict, list, tuple)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(inner, f"{path}.{name}" if path else str(name))
