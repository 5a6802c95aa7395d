"""Owns the reading of an annotator's options: types, bounds and the words for what is wrong with them.

Knows no method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curator.annotators import AnnotatorSpec
from curator.errors import ConfigError


def number(spec: AnnotatorSpec, key: str, default: float | None, low: float, high: float) -> float | None:
    """The option ``key`` as a number from ``low`` to ``high``; ``default`` where it is not given."""
    value = spec.options.get(key, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _wrong(spec, key, value, f"a number from {low:g} to {high:g}")
    return float(value)


def whole(spec: AnnotatorSpec, key: str, default: int, low: int = 1) -> int:
    """The option ``key`` as a whole number of at least ``low``."""
    value = spec.options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise _wrong(spec, key, value, f"a whole number of at least {low}")
    return value


def flag(spec: AnnotatorSpec, key: str, default: bool) -> bool:
    value = spec.options.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(spec, key, value, "true or false")
    return value


def text(spec: AnnotatorSpec, key: str, default: str | None, choices: Sequence[str] = ()) -> str | None:
    """The option ``key`` as a text, one of ``choices`` where there are some."""
    value = spec.options.get(key, default)
    if value is None:
        return None
    if not isinstance(value, str) or not value or (choices and value not in choices):
        raise _wrong(spec, key, value, " or ".join(repr(choice) for choice in choices) or "a text")
    return value


def needed(spec: AnnotatorSpec, key: str, value: Any, what: str) -> Any:
    """``value``, or ConfigError that says ``what`` the option ``key`` must give."""
    if value is None:
        raise ConfigError(f"entities {spec.name!r}: method {spec.method} needs the option {key!r}: {what}")
    return value


def _wrong(spec: AnnotatorSpec, key: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"entities {spec.name!r}: option {key!r} is {value!r}; it must be {wanted}")
