"""A checked Config from TOML, overrides and values, and what to say of what does not fit. Knows no setting by name."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from curator.config.sections import AnnotatorConfig, Config, FurtherEncoderConfig, LabelSetConfig, Section
from curator.errors import ConfigError
from curator.storage.urls import redact_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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

    ``read`` gets the file's bytes: ``engine.compose.fetch_config`` is this for a file at a url. Raises ConfigError that
    names the key, the nearest known key and the file.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(read(path).decode())
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such config file") from error
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are among them
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
    for override in overrides:
        _set(tree, override)
    _merge(tree, values or {})
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, str(path or "settings")) for item in error.errors())) from error


def _set(tree: dict[str, Any], override: str) -> None:
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


def _merge(tree: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(tree.get(name), dict):
            _merge(tree[name], value)
        else:
            tree[name] = dict(value) if isinstance(value, Mapping) else value


def _explain(item: Any, source: str) -> str:
    place = ".".join(str(step) for step in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{source}: {place}: {item['msg']} (got {redact_text(repr(item.get('input')))})"
    known = _fields_at(item["loc"][:-1])
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"{source}: unknown key {place!r}; {hint}"


_ITEMS: dict[str, type[Section]] = {
    "encoders": FurtherEncoderConfig, "labels": LabelSetConfig,
    "free": AnnotatorConfig, "entities": AnnotatorConfig, "scores": AnnotatorConfig,
}  # fmt: skip


def _fields_at(path: Sequence[str | int]) -> list[str]:
    model: type[BaseModel] = Config
    for step in path:
        if isinstance(step, int):
            continue
        annotation = model.model_fields[step].annotation
        model = _ITEMS.get(step) or annotation  # type: ignore[assignment]
    return list(model.model_fields)
