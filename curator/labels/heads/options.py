"""Owns how a head reads its options: typed values, files in place of paths, and errors that name the label set.

Knows no head and no formula.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.errors import ConfigError

if TYPE_CHECKING:
    from curator.labels.heads.base import LabelSetSpec
    from curator.labels.vocabulary import Vocabulary


def fault(spec: LabelSetSpec, message: str) -> ConfigError:
    """The error to raise for a label set that cannot be scored as asked."""
    return ConfigError(f"label set {spec.name!r}: {message}")


def number(spec: LabelSetSpec, key: str, default: float, *, low: float, high: float = float("inf")) -> float:
    """The option as a float within ``[low, high]``."""
    value = spec.options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise fault(spec, f"{key} is {value!r}; it must be a number from {low:g} to {high:g}")
    return float(value)


def whole(spec: LabelSetSpec, key: str, default: int, *, low: int) -> int:
    """The option as an int of at least ``low``."""
    value = spec.options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise fault(spec, f"{key} is {value!r}; it must be a whole number of at least {low}")
    return value


def choice(spec: LabelSetSpec, key: str, default: str, words: Sequence[str]) -> str:
    """The option as one of ``words``."""
    value = spec.options.get(key, default)
    if value not in words:
        raise fault(spec, f"{key} is {value!r}; it must be one of {', '.join(words)}")
    return str(value)


def flag(spec: LabelSetSpec, key: str, *, default: bool) -> bool:
    """The option as true or false."""
    value = spec.options.get(key, default)
    if not isinstance(value, bool):
        raise fault(spec, f"{key} is {value!r}; it must be true or false")
    return value


def text(spec: LabelSetSpec, key: str, default: str) -> str:
    """The option as a string."""
    value = spec.options.get(key, default)
    if not isinstance(value, str):
        raise fault(spec, f"{key} is {value!r}; it must be text")
    return value


def with_contents(spec: LabelSetSpec, *keys: str, required: bool = True) -> LabelSetSpec:
    """``spec`` with the options ``keys`` read: where one is a path, what the JSON file holds takes its place.

    Only the driver calls this, so that workers need no file and the digest of the run covers what the files said.
    """
    contents = {}
    for key in keys:
        value = spec.options.get(key)
        if value is None:
            if required:
                raise fault(spec, f"head {spec.head} needs the option {key}: a JSON file, or the same written inline")
            continue
        contents[key] = _json(spec, key, Path(value)) if isinstance(value, str) else value
    return replace(spec, options={**spec.options, **contents})


def _json(spec: LabelSetSpec, key: str, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise fault(spec, f"{key} {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise fault(spec, f"{key} {path} cannot be read as UTF-8 text: {error}") from error
    except ValueError as error:
        raise fault(spec, f"{key} {path} is not valid JSON: {error}") from error


def mapping(spec: LabelSetSpec, key: str) -> Mapping[str, Any]:
    """The option as a table."""
    value = spec.options.get(key)
    if not isinstance(value, Mapping) or not value:
        raise fault(spec, f"{key} must be a table with at least one entry, not {_short(value)}")
    return value


def texts(spec: LabelSetSpec, what: str, value: Any) -> tuple[str, ...]:
    """A list of texts without repeats, white space made single. ``what`` says where it stands in errors."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise fault(spec, f"{what} must be a list of texts, not {_short(value)}")
    return tuple(dict.fromkeys(" ".join(each.split()) for each in value))


def by_label(spec: LabelSetSpec, key: str) -> dict[int, tuple[str, ...]]:
    """The table ``key`` of texts by label, as published for CuPL and DCLIP: {"label": ["text", …], …}.

    Keys are ids or names; case, ``_`` and ``-`` do not count. Entries for labels that the vocabulary does not have are
    left out (published files cover whole data sets). Positions of labels without an entry are missing.
    """
    rows = label_rows(spec.vocabulary)
    found: dict[int, tuple[str, ...]] = {}
    for name, value in mapping(spec, key).items():
        if (row := rows.get(plain(name))) is not None:
            found[row] = texts(spec, f"{key} of {name!r}", value)
    return found


def require_all(spec: LabelSetSpec, key: str, found: Collection[int]) -> None:
    """ConfigError unless every label of the vocabulary has an entry in the table ``key``."""
    missing = [label.name for row, label in enumerate(spec.vocabulary.labels) if row not in found]
    if missing:
        close = difflib.get_close_matches(missing[0], list(mapping(spec, key)), n=1)
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
        close = difflib.get_close_matches(str(name), spec.vocabulary.names, n=1)
        raise fault(
            spec, f"{what} names {name!r}, which is no label" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    return row


def label_rows(vocabulary: Vocabulary) -> dict[str, int]:
    """Positions by plain name and by plain id; an id goes before another label's name."""
    rows = {plain(label.name): row for row, label in reversed(list(enumerate(vocabulary.labels)))}
    return {**rows, **{plain(label.id): row for row, label in enumerate(vocabulary.labels)}}


def plain(name: str) -> str:
    """A name as it is compared: case, ``_``, ``-`` and white space do not count."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
