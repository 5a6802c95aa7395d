"""Owns how vocabulary-free methods read their options: typed values, and errors that name the annotator.

Knows no method and no bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curator.annotators import AnnotatorSpec
from curator.errors import ConfigError


def fault(spec: AnnotatorSpec, message: str) -> ConfigError:
    """The error to raise for free labels that cannot be given as asked."""
    return ConfigError(f"free {spec.name!r}: {message}")


def number(spec: AnnotatorSpec, key: str, default: float, *, low: float, high: float = float("inf")) -> float:
    """The option as a float within ``[low, high]``."""
    value = spec.options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise fault(spec, f"{key} is {value!r}; it must be a number from {low:g} to {high:g}")
    return float(value)


def whole(spec: AnnotatorSpec, key: str, default: int, *, low: int, high: int = 2**31) -> int:
    """The option as an int within ``[low, high]``."""
    value = spec.options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise fault(spec, f"{key} is {value!r}; it must be a whole number from {low} to {high}")
    return value


def flag(spec: AnnotatorSpec, key: str, *, default: bool) -> bool:
    """The option as true or false."""
    value = spec.options.get(key, default)
    if not isinstance(value, bool):
        raise fault(spec, f"{key} is {value!r}; it must be true or false")
    return value


def text(spec: AnnotatorSpec, key: str, default: str) -> str:
    """The option as a string that is not empty."""
    value = spec.options.get(key, default)
    if not isinstance(value, str) or not value:
        raise fault(spec, f"{key} is {value!r}; it must be text")
    return value


def template(spec: AnnotatorSpec, default: str = "{}") -> str:
    """The option ``template``: a prompt with one {} for the word."""
    value = text(spec, "template", default)
    if value.count("{}") != 1:
        raise fault(spec, f"template is {value!r}; it must have one {{}} where the word stands")
    return value


def texts(spec: AnnotatorSpec, key: str, default: Sequence[str]) -> tuple[str, ...]:
    """The option as texts without repeats; a single text is a list of one."""
    value = spec.options.get(key, default)
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(each, str) and each for each in value):
        raise fault(spec, f"{key} is {value!r}; it must be a text or a list of texts")
    return tuple(dict.fromkeys(value))


def lines(spec: AnnotatorSpec, key: str, path: str) -> list[str]:
    """The lines of the text file that an option names, without repeats, empty lines and comments (#)."""
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fault(spec, f"{key} {path} cannot be read as UTF-8 text: {error}") from error
    found = (" ".join(line.split()) for line in content.splitlines())
    words = list(dict.fromkeys(line for line in found if line and not line.startswith("#")))
    if not words:
        raise fault(spec, f"{key} {path} holds no word; write one a line")
    return words
