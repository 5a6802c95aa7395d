"""Owns the reading of texts out of a sample's json. Knows no file and no label."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def value_at(metadata: bytes | str | None, path: Sequence[str]) -> Any:
    """What stands at ``path`` (keys, outermost first) in a sample's json; None where that is missing or broken."""
    try:
        value: Any = json.loads(metadata or b"null")
    except (ValueError, RecursionError):
        return None
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def texts_at(metadata: bytes | None, path: Sequence[str]) -> tuple[str, ...] | None:
    """The texts or whole numbers at ``path`` (keys, outermost first): one, or a list of them, without repeats.

    None where the json is missing or broken, or something else stands there; white space around texts goes.
    """
    value = value_at(metadata, path)
    if isinstance(value, list):
        return tuple(dict.fromkeys(text for each in value if (text := str(each).strip())))
    if isinstance(value, (int, str)) and not isinstance(value, bool) and (text := str(value).strip()):
        return (text,)
    return None
