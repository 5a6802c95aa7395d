"""Owns how a score's options name files: read once by the driver, by digest ever after. Knows no format."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from curator.annotators import AnnotatorSpec
from curator.errors import ConfigError, CuratorError
from curator.storage.base import Storage


def read_bytes(storage: Storage, url: str, place: str) -> bytes:
    """The file that an option names. ConfigError where it cannot be read."""
    try:
        return storage.read(url)
    except (CuratorError, OSError) as error:
        raise ConfigError(f"{place}: {url}: cannot be read: {error}") from error


def digest_of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_same(storage: Storage, url: str, digest: str, place: str) -> bytes:
    """A large file again, in a worker. ConfigError where it is no longer what the driver saw."""
    data = read_bytes(storage, url, place)
    if digest_of_bytes(data) != digest:
        raise ConfigError(f"{place}: {url}: changed since the run began; give the file under another name")
    return data


def text_of(data: bytes, place: str, url: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: {url}: is not UTF-8 text: {error}") from error


def texts_of(data: bytes, place: str, url: str) -> list[str]:
    """A list of texts: a JSON list, or a text a line. Nothing is stripped but the line's end, and empty ones left out.

    ConfigError for anything else and for an empty list.
    """
    text = text_of(data, place, url)
    if url.lower().endswith(".json"):
        found = json_of(text, place, url)
        texts = list(found) if isinstance(found, Mapping) else found
    else:
        texts = text.split("\n")
        texts = [line.removesuffix("\r") for line in texts]
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ConfigError(f"{place}: {url}: must hold a list of texts")
    kept = list(dict.fromkeys(each for each in texts if each.strip()))
    if not kept:
        raise ConfigError(f"{place}: {url}: holds no text")
    return kept


def json_of(text: str, place: str, url: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{place}: {url}: is not JSON: {error}") from error


def counts_of(data: bytes, place: str, url: str) -> dict[str, int]:
    """Counts by entry from a JSON object, in its order. ConfigError for anything else."""
    found = json_of(text_of(data, place, url), place, url)
    whole = isinstance(found, dict) and all(type(n) is int and n >= 0 for n in found.values())
    if not whole:
        raise ConfigError(f"{place}: {url}: must be a JSON object that gives every entry its count")
    return dict(found)


def place_of(spec: AnnotatorSpec) -> str:
    return f"scores {spec.name!r}"


def option(spec: AnnotatorSpec, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """An option of the expected type, or ``default``. ConfigError names what was given; a bool is no number."""
    value = spec.options.get(key, default)
    if value is None and key not in spec.options:
        return default
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(each.__name__ for each in kinds)
        raise ConfigError(f"{place_of(spec)}: option {key!r} is {value!r}; it must be {names}")
    return value


def required(spec: AnnotatorSpec, key: str, what: str) -> str:
    value = option(spec, key, str, "")
    if not value:
        raise ConfigError(f"{place_of(spec)}: option {key!r} is missing; give {what}")
    return str(value)


def optional_package(name: str, extra: str, place: str) -> Any:
    """A package of an extra. ConfigError says which extra to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{place}: needs the package {name}; pip install 'curator[{extra}]'") from error


def flat(captions: Sequence[str | None]) -> list[tuple[int, str]]:
    """The captions that there are, with their rows."""
    return [(row, caption) for row, caption in enumerate(captions) if caption]
