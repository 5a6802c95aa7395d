"""Owns options that are JSON files, and tables whose keys are labels: which label an entry is of.

Knows no head and no formula.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from curator.errors import nearest
from curator.kernels.names import plain
from curator.options import content, fault, json_of, needed, phrases, table

if TYPE_CHECKING:
    from curator.labels.heads.base import LabelSetSpec
    from curator.labels.vocabulary import Vocabulary
    from curator.storage.base import Storage


def with_contents(spec: LabelSetSpec, storage: Storage, *keys: str, required: bool = True) -> LabelSetSpec:
    """``spec`` with the options ``keys`` read: where one names a file, what the JSON file holds takes its place.

    Only the driver calls this, so that workers need no file and the digest of the run covers what the files said.
    """
    contents = {}
    for key in keys:
        if required:
            needed(spec, key, "a JSON file, or the same written inline")
        value = spec.options.get(key)
        if value is not None:
            contents[key] = json_of(spec, key, content(spec, key, storage)) if isinstance(value, str) else value
    return replace(spec, options={**spec.options, **contents})


def by_label(spec: LabelSetSpec, key: str) -> dict[int, tuple[str, ...]]:
    """The table ``key`` of texts by label, as published for CuPL and DCLIP: {"label": ["text", …], …}.

    Keys are ids or names; case, ``_`` and ``-`` do not count. Entries for labels that the vocabulary does not have are
    left out (published files cover whole data sets). Positions of labels without an entry are missing.
    """
    rows = label_rows(spec.vocabulary)
    found: dict[int, tuple[str, ...]] = {}
    for name, value in table(spec, key).items():
        if (row := rows.get(plain(name))) is not None:
            found[row] = phrases(spec, f"{key} of {name!r}", value)
    return found


def require_all(spec: LabelSetSpec, key: str, found: Collection[int]) -> None:
    """ConfigError unless every label of the vocabulary has an entry in the table ``key``."""
    missing = [label.name for row, label in enumerate(spec.vocabulary.labels) if row not in found]
    if missing:
        close = difflib.get_close_matches(missing[0], list(table(spec, key)), n=1)
        raise fault(
            spec,
            f"{key} has no entry for {len(missing)} of {len(spec.vocabulary)} labels, first {missing[0]!r}"
            + (f" (it has {close[0]!r})" if close else "")
            + "; add them, or give the label sets without them another head",
        )


def label_row(spec: LabelSetSpec, what: str, name: Any) -> int:
    """The position of the label with this id or name. ConfigError with the nearest one."""
    row = label_rows(spec.vocabulary).get(plain(name)) if isinstance(name, str) else None
    if row is None:
        known = spec.vocabulary.names
        raise fault(spec, f"{what} names {name!r}, which is no label; {nearest(str(name), known)}")
    return row


def label_rows(vocabulary: Vocabulary) -> dict[str, int]:
    """Positions by plain name and by plain id; an id goes before another label's name."""
    rows = {plain(label.name): row for row, label in reversed(list(enumerate(vocabulary.labels)))}
    return {**rows, **{plain(label.id): row for row, label in enumerate(vocabulary.labels)}}
