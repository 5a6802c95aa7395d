"""Brace expansion as in bash: lists, ranges with padding and steps, nested. Knows no urls and no storage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from curator.errors import ConfigError

_INTEGERS: Final = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_LETTERS: Final = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d+))?")
_MAX_NAMES: Final = 10_000_000
_MAX_DEPTH: Final = 32


def expand_braces(pattern: str) -> Iterator[str]:
    """Every name that ``pattern`` stands for, in the order written.

    ``{a,b}``, ``{1..3}``, ``{000..100..5}`` (as many digits as the widest end that has a leading zero), ``{a..e}``,
    also nested. Braces without a comma or a range stay as they are. ConfigError for more than ten million names.
    """
    return iter(_expand(pattern, pattern, 0))


def _expand(text: str, pattern: str, depth: int) -> Sequence[str] | _Product:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{pattern[:200]!r}: braces are nested more than {_MAX_DEPTH} deep")
    parts: list[Sequence[str] | _Product] = []
    literal = 0
    position = 0
    while (opening := text.find("{", position)) >= 0:
        body = _body(text, opening)
        choices = None if body is None else _choices(body, pattern, depth)
        if body is None or choices is None:
            position = opening + 1
            continue
        parts += [(text[literal:opening],), choices]
        literal = position = opening + len(body) + 2
    parts.append((text[literal:],))
    return _Product(parts, pattern)


class _Product:
    """Every combination of one choice per part, made as it is walked."""

    def __init__(self, parts: Sequence[Sequence[str] | _Product], pattern: str) -> None:
        self._parts = parts
        self._count = 1
        for part in parts:
            self._count *= len(part)
        if self._count > _MAX_NAMES:
            raise ConfigError(f"{pattern[:200]!r} stands for {self._count} names; at most {_MAX_NAMES} are allowed")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return map("".join, product(*self._parts))


def _body(text: str, opening: int) -> str | None:
    level = 0
    for position in range(opening, len(text)):
        level += (text[position] == "{") - (text[position] == "}")
        if not level:
            return text[opening + 1 : position]
    return None


def _choices(body: str, pattern: str, depth: int) -> Sequence[str] | None:
    if match := _INTEGERS.fullmatch(body):
        return _integers(match[1], match[2], match[3], pattern)
    if match := _LETTERS.fullmatch(body):
        letters = _range(ord(match[1]), ord(match[2]), match[3])
        return [chr(letter) for letter in letters]
    items = _items(body)
    if len(items) == 1:
        return None
    names: list[str] = []
    for item in items:
        names.extend(_expand(item, pattern, depth + 1))
        if len(names) > _MAX_NAMES:
            raise ConfigError(f"{pattern[:200]!r} stands for more than {_MAX_NAMES} names")
    return names


def _integers(first: str, last: str, step: str | None, pattern: str) -> Sequence[str]:
    padded = any(re.match(r"-?0\d", end) for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    numbers = _range(int(first), int(last), step)
    if len(numbers) > _MAX_NAMES:
        raise ConfigError(f"{pattern[:200]!r} stands for {len(numbers)} names; at most {_MAX_NAMES} are allowed")
    return [f"{number:0{width}d}" for number in numbers]


def _range(first: int, last: int, step: str | None) -> range:
    stride = abs(int(step or 1)) or 1
    return range(first, last + 1, stride) if first <= last else range(first, last - 1, -stride)


def _items(body: str) -> list[str]:
    items, level, start = [], 0, 0
    for position, character in enumerate(body):
        level += (character == "{") - (character == "}")
        if character == "," and not level:
            items.append(body[start:position])
            start = position + 1
    return [*items, body[start:]]
