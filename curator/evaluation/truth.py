"""Owns where the true labels of samples stand: a field of their json, their caption, or a CSV file. Knows no head."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from curator.errors import ConfigError
from curator.kernels.fields import texts_at

Truth: TypeAlias = "Callable[[str, str, str | None, bytes | None], tuple[str, ...] | None]"
"""From sample_id, key, caption and metadata to the true labels (none, one, several), or None where nothing is known."""


def read_truth(source: str, option: str = "--truth") -> Truth:
    """The truth that ``source`` names: ``json.FIELD`` (nested by dots), ``caption``, or the path of a CSV file.

    A CSV has a heading, then a row per sample: first ``sample_id`` or ``key``, then its labels, as many as it has. In
    json a label is text, or a list of texts. ConfigError for anything else, which names the ``option`` that said so.
    """
    if source == "caption":
        return lambda _identity, _key, caption, _metadata: None if caption is None else _kept(caption)
    if source.startswith("json."):
        path = source.split(".")[1:]
        return lambda _identity, _key, _caption, metadata: texts_at(metadata, path)
    table, by = _read_csv(Path(source), option)
    if by == "sample_id":
        return lambda identity, _key, _caption, _metadata: table.get(identity)
    return lambda _identity, key, _caption, _metadata: table.get(key)


def _kept(*values: str) -> tuple[str, ...] | None:
    labels = tuple(dict.fromkeys(value.strip() for value in values if value.strip()))
    return labels or None


def _read_csv(path: Path, option: str) -> tuple[dict[str, tuple[str, ...]], str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            heading, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{option} {path}: is neither caption, nor json.FIELD, nor a CSV file that can be read ({error})"
        ) from error
    if not heading or heading[0] not in ("sample_id", "key") or len(heading) < 2:
        raise ConfigError(
            f"{option} {path}: the heading must be sample_id or key, then label; it is {','.join(heading)!r}"
        )
    table: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if row[0] in table:
            raise ConfigError(f"{path}: line {number}: {heading[0]} {row[0]!r} stands twice; keep one")
        table[row[0]] = tuple(dict.fromkeys(each.strip() for each in row[1:] if each.strip()))
    return table, heading[0]
