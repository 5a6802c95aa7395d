"""Owns how a method's options are read: values of the right type, the files they name, one voice for what is wrong.

Knows no method, and of a file's content no more than that it is text or JSON.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

from curator.errors import ConfigError, CuratorError, NotFoundError, nearest
from curator.storage.base import Storage
from curator.storage.urls import redact


class Asked(Protocol):
    """Who gives the options: an annotator's spec, a label set's. ``place`` is what errors call it, with its method."""

    @property
    def place(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Options:
    """Options that are no spec's own, such as those under one of its keys."""

    place: str
    options: Mapping[str, Any]


def fault(asked: Asked, message: str) -> ConfigError:
    """The error to raise for what cannot be done as asked."""
    return ConfigError(f"{asked.place}: {message}")


def wrong(asked: Asked, key: str, wanted: str) -> ConfigError:
    """The error to raise for the value of an option, which must be ``wanted``."""
    return fault(asked, f"{key} is {shown(asked.options.get(key))}; it must be {wanted}")


def shown(value: Any) -> str:
    """A value as an error shows it: cut where it is long."""
    whole_value = repr(value)
    return whole_value if len(whole_value) <= 60 else f"{whole_value[:57]}..."


@overload
def number(asked: Asked, key: str, default: float, *, low: float = ..., high: float = ...) -> float: ...
@overload
def number(asked: Asked, key: str, default: None, *, low: float = ..., high: float = ...) -> float | None: ...
def number(
    asked: Asked, key: str, default: float | None, *, low: float = -math.inf, high: float = math.inf
) -> float | None:
    """The option as a float within ``[low, high]``; ``default`` where it is not given."""
    value = asked.options.get(key)
    if value is None:
        return default
    if not _is_number(value, low, high):
        raise wrong(asked, key, _numbers_within(low, high))
    return float(value)


@overload
def whole(asked: Asked, key: str, default: int, *, low: int = ..., high: int | None = ...) -> int: ...
@overload
def whole(asked: Asked, key: str, default: None, *, low: int = ..., high: int | None = ...) -> int | None: ...
def whole(asked: Asked, key: str, default: int | None, *, low: int = 1, high: int | None = None) -> int | None:
    """The option as an int from ``low`` (1) to ``high`` (any); ``default`` where it is not given."""
    value = asked.options.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        raise wrong(asked, key, f"a whole number {_within(low, high)}")
    return value


def flag(asked: Asked, key: str, *, default: bool) -> bool:
    """The option as true or false."""
    value = asked.options.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong(asked, key, "true or false")
    return value


@overload
def text(asked: Asked, key: str, default: str) -> str: ...
@overload
def text(asked: Asked, key: str, default: None) -> str | None: ...
def text(asked: Asked, key: str, default: str | None) -> str | None:
    """The option as a text that is not empty; ``default`` where it is not given."""
    value = asked.options.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or not value:
        raise wrong(asked, key, "text that is not empty")
    return value


def choice(asked: Asked, key: str, default: str, words: Sequence[str]) -> str:
    """The option as one of ``words``; the error names the nearest of them."""
    value = asked.options.get(key, default)
    if value not in words:
        raise wrong(asked, key, f"one of {', '.join(words)}; {nearest(str(value), words, '')}".rstrip("; "))
    return str(value)


def pattern(asked: Asked, key: str, default: str, *fields: str) -> str:
    """The option as a text with each of ``fields``, such as {}, in it once: where words are to stand."""
    value = text(asked, key, default)
    if any(value.count(field) != 1 for field in fields):
        raise fault(asked, f"{key} is {value!r}; it must hold {' and '.join(fields)} once, for what goes there")
    return value


def texts(asked: Asked, key: str, default: Sequence[str]) -> tuple[str, ...]:
    """The option as texts without repeats; a single text is a list of one."""
    value = asked.options.get(key, default)
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(each, str) and each for each in value):
        raise wrong(asked, key, "a text or a list of texts")
    return tuple(dict.fromkeys(value))


def phrases(asked: Asked, what: str, value: Any) -> tuple[str, ...]:
    """A list of texts that stands within an option: without repeats, white space made single.

    ``what`` says where it stands in errors.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise fault(asked, f"{what} must be a list of texts, not {shown(value)}")
    return tuple(dict.fromkeys(" ".join(each.split()) for each in value))


def table(asked: Asked, key: str) -> Mapping[str, Any]:
    """The option as a table that is not empty."""
    value = asked.options.get(key)
    if not isinstance(value, Mapping) or not value:
        raise wrong(asked, key, "a table with at least one entry")
    return value


def numbers(asked: Asked, key: str, *, low: float = -math.inf, high: float = math.inf) -> dict[str, float]:
    """The option as a table of numbers within ``[low, high]``; an empty one where it is not given."""
    value = asked.options.get(key) or {}
    if not isinstance(value, Mapping):
        raise wrong(asked, key, "a table of numbers")
    for name, each in value.items():
        if not _is_number(each, low, high):
            raise fault(asked, f"{key} of {name!r} is {shown(each)}; it must be {_numbers_within(low, high)}")
    return {name: float(each) for name, each in value.items()}


def needed(asked: Asked, key: str, what: str) -> None:
    """ConfigError that says ``what`` the option must give, where it is not given."""
    if asked.options.get(key) is None:
        raise fault(asked, f"needs the option {key}: {what}")


def named(asked: Asked, key: str, what: str) -> str:
    """The url that the option must give, as written."""
    needed(asked, key, what)
    return text(asked, key, "")


def content(asked: Asked, key: str, storage: Storage) -> bytes:
    """The file that the option names. ConfigError where it cannot be read."""
    return file_bytes(str(asked.options[key]), storage, f"{asked.place}: {key}")


def file_bytes(url: str, storage: Storage, place: str) -> bytes:
    """A file that settings name at ``place``. ConfigError where it cannot be read."""
    try:
        return storage.read(url)
    except (NotFoundError, FileNotFoundError) as error:
        raise ConfigError(f"{place} {redact(url)} does not exist") from error
    except (CuratorError, OSError) as error:
        raise ConfigError(f"{place} {redact(url)} cannot be read: {error}") from error


def decoded(asked: Asked, key: str, data: bytes) -> str:
    """What ``content`` read, as text."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fault(asked, f"{_file(asked, key)} cannot be read as UTF-8 text: {error}") from error


def json_of(asked: Asked, key: str, data: bytes) -> Any:
    """What ``content`` read, as JSON."""
    try:
        return json.loads(decoded(asked, key, data))
    except ValueError as error:
        raise fault(asked, f"{_file(asked, key)} is not valid JSON: {error}") from error


def lines(asked: Asked, key: str, storage: Storage) -> list[str]:
    """The lines of the text file that the option names, without repeats, empty lines and comments (#)."""
    found = (" ".join(line.split()) for line in decoded(asked, key, content(asked, key, storage)).splitlines())
    words = list(dict.fromkeys(line for line in found if line and not line.startswith("#")))
    if not words:
        raise fault(asked, f"{_file(asked, key)} holds no word; write one a line")
    return words


def unchanged(asked: Asked, key: str, digest: str) -> None:
    """ConfigError unless ``digest`` is what the driver found of the file that the option names: ``KEY_digest``."""
    if asked.options.get(f"{key}_digest", digest) != digest:
        raise fault(
            asked,
            f"{_file(asked, key)} changed since the run began; begin a new run, or give the new file another name",
        )


def package(name: str, extra: str, place: str) -> Any:
    """A package of an extra. ConfigError says which extra to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{place}: needs the package {name}; pip install 'curator[{extra}]'") from error


def _file(asked: Asked, key: str) -> str:
    return f"{key} {redact(str(asked.options.get(key, '')))}".strip()


def _is_number(value: Any, low: float, high: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and low <= value <= high


def _numbers_within(low: float, high: float) -> str:
    found = _within(None if low == -math.inf else low, None if high == math.inf else high)
    return f"a number {found}".rstrip()


def _within(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}"
    return f"of at least {low:g}" if low is not None else f"of at most {high:g}" if high is not None else ""
