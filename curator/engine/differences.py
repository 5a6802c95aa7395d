"""Owns the words for what differs between two configurations. Knows no file of the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_DIGEST = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")


def differences_of(old: Any, new: Any, settings: Any, path: str = "") -> str:
    """The settings that differ, by name: what a user needs to see which of the two runs is the mistake.

    ``settings`` are those that the old run was given, beside ``old``: where this has the digest of a file's content,
    the file is named.
    """
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        found = [
            differences_of(
                old.get(name), new.get(name), _given(settings, name), f"{path}.{name}" if path else str(name)
            )
            for name in {*old, *new}
        ]
        return "; ".join(sorted(text for text in found if text))
    if old == new:
        return ""
    if isinstance(old, list) and isinstance(new, list):
        old, new = _names(old), _names(new)
    file = f" (of {settings})" if path.endswith("_digest") and isinstance(settings, str) else ""
    if all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (old, new)):
        content = f" than {settings} did" if isinstance(settings, str) and not file else ""
        return f"{path}{file} says something else{content}"
    return f"{path}{file} was {old!r}, is {new!r}"


def _names(tables: list[Any]) -> list[Any]:
    """Of tables that have names, those: which label sets there are says more than all about each."""
    return [each["name"] if isinstance(each, Mapping) and "name" in each else each for each in tables]


def _given(settings: Any, name: str | int) -> Any:
    """What stands in ``settings`` under ``name``, or what a digest of this name is of."""
    if isinstance(settings, Mapping):
        return settings.get(str(name).removesuffix("_digest"))
    if isinstance(settings, Sequence) and isinstance(name, int) and name < len(settings):
        return settings[name]
    return None
