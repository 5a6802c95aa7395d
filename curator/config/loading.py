"""A checked Config from TOML, overrides and values, and what to say of what does not fit. Knows no setting by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curator.config.faults import Place, explain, line_of
from curator.config.places import placed, placed_in
from curator.config.sections import Config
from curator.errors import ConfigError
from curator.storage.urls import folder_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_SETTINGS = "settings"


def _read(path: str | Path) -> bytes:
    return Path(path).read_bytes()


def load_config(
    path: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    read: Callable[[str | Path], bytes] = _read,
) -> Config:
    """A checked Config from a TOML file, ``key.path=value`` overrides (TOML values) and nested ``values``, in order.

    Relative paths start where the file lies that names them, those of overrides and values at the working directory;
    in the Config they are absolute. ``read`` gets the file's bytes: ``engine.compose.fetch_config`` is this for a file
    at a url. Raises ConfigError that names the setting, what it may be, and the file's line.
    """
    text = "" if path is None else _text(path, read)
    try:
        tree: dict[str, Any] = placed_in(folder_of(str(path)), tomllib.loads(text)) if text else {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    origins: dict[Place, str] = {}
    for override in overrides:
        _set(tree, override, origins)
    _merge(tree, values or {}, origins)
    try:
        return Config.model_validate(placed(tree))
    except ValidationError as error:
        told = [explain(item, Config, _source(item["loc"], path, text, origins)) for item in error.errors()]
        raise ConfigError("\n".join(told)) from error


def _text(path: str | Path, read: Callable[[str | Path], bytes]) -> str:
    try:
        return read(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such config file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _source(place: Place, path: str | Path | None, text: str, origins: Mapping[Place, str]) -> str:
    """Where the setting came from: the override or value that set it last, or the file and line."""
    for known in (place[:length] for length in range(len(place), 0, -1)):
        if known in origins:
            return origins[known]
    below = [source for known, source in origins.items() if known[: len(place)] == place]
    if below:
        return below[-1]
    if path is None:
        return _SETTINGS
    line = line_of(text, place)
    return str(path) if line is None else f"{path}: line {line}"


def _set(tree: dict[str, Any], override: str, origins: dict[Place, str]) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write it as key.path=value, for example encoder.batch_size=128")
    value = toml_value(text)
    *sections, name = key.strip().split(".")
    node: Any = tree
    for section in sections:
        node = _step(node, section, override)
    if isinstance(node, list):
        _step(node, name, override)
        node[int(name)] = value
    else:
        _section(node, name, override)[name] = value
    steps = (int(step) if step.isdigit() else step for step in (*sections, name))
    origins[tuple(steps)] = f"--set {key.strip()}"


def toml_value(text: str) -> Any:
    """``text`` as a TOML value where it is one, else as it stands."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    # No setting is a date: --set input.since=2026-11-22 means the text.
    return text if isinstance(value, (datetime, date, time)) else value


def _step(node: Any, section: str, override: str) -> Any:
    if isinstance(node, list):
        if not section.isdigit() or int(section) >= len(node):
            raise ConfigError(
                f"--set {override}: {section!r} is no position in a list of {len(node)}; for example labels.0.top_k=3"
            )
        return node[int(section)]
    return _section(node, section, override).setdefault(section, {})


def _section(node: Any, name: str, override: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise ConfigError(f"--set {override}: there is no {name!r} in {node!r}, which is a value and not a section")
    return node


def _merge(tree: dict[str, Any], values: Mapping[str, Any], origins: dict[Place, str], at: Place = ()) -> None:
    for name, value in values.items():
        place: Place = (*at, name)
        if isinstance(value, Mapping) and isinstance(tree.get(name), dict):
            _merge(tree[name], value, origins, place)
        else:
            tree[name] = dict(value) if isinstance(value, Mapping) else value
            origins[place] = _SETTINGS
