"""Owns rules over the columns of a run: which rows a published pre-filter, or a user's own, keeps, and why not.

Reads record batches and knows no file but the rules' own; ``rule_table`` applies them to runs.
"""

from __future__ import annotations

import json
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curator.curation.counts import caption_key
from curator.errors import ConfigError, nearest
from curator.kernels.fields import value_at
from curator.kernels.ngrams import NgramRanks
from curator.tables.schema import STATUS_OK

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).with_name("rulesets")
_BOUNDS: dict[str, Callable[[Any, Any], Any]] = {
    "at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt,
}  # fmt: skip
_KEYS = frozenset({"name", "value", "missing", "optional", "is", "is_not", *_BOUNDS})
_IMAGE = ("width", "height", "short_side", "long_side", "aspect", "pixels", "format", "captions")
_CAPTION = ("chars", "words", "frequency", "ngram_rank")


@dataclass(frozen=True)
class Rule:
    """One condition. ``value`` is ``image.X``, ``caption.X``, ``column.NAME`` or ``metadata.PATH``.

    ``test`` is a bound (``at_least``, ``above``, ``at_most``, ``below``) or ``is``, ``is_not`` with the values that are
    allowed or not. A row without the value is kept where ``keep_missing``; an ``optional`` rule is left out where the
    run has no such column, or the counts no n-grams.
    """

    name: str
    value: str
    test: str
    operand: Any
    keep_missing: bool = False
    optional: bool = False

    @property
    def column(self) -> str | None:
        return self.value.removeprefix("column.") if self.value.startswith("column.") else None

    @property
    def is_ngram(self) -> bool:
        return self.value == "caption.ngram_rank"

    def holds(self, values: Sequence[Any]) -> NDArray[np.bool_]:
        """Whether each of ``values`` (None: missing) passes. A value that cannot be compared is as if missing."""
        return np.array([self._holds(value) for value in values], np.bool_)

    def _holds(self, value: Any) -> bool:
        if value is None:
            return self.keep_missing
        if self.test in ("is", "is_not"):
            return (value in self.operand) == (self.test == "is")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self.keep_missing
        return bool(_BOUNDS[self.test](value, self.operand))


@dataclass(frozen=True)
class Frequencies:
    """How often captions and images occur, by digest (what is not there, once), and n-grams where they were counted."""

    captions: Mapping[str, int]
    images: Mapping[str, int]
    ngrams: NgramRanks | None = None


def read_rules(source: str) -> tuple[Rule, ...]:
    """The rules of ``align``, ``redcaps``, or of a TOML or JSON file with a list ``rules``. ConfigError names the one
    that is wrong."""
    path = _FOLDER / f"{source}.json"
    path = path if "/" not in source and path.is_file() else Path(source)
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        known = ", ".join(sorted(each.stem for each in _FOLDER.glob("*.json")))
        raise ConfigError(f"--rules {source}: is neither of {known} nor a file that can be read") from error
    except ValueError as error:
        raise ConfigError(f"{source}: is not valid TOML or JSON: {error}") from error
    listed = found.get("rules") if isinstance(found, Mapping) else None
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{source}: has no list named 'rules'")
    rules = tuple(_rule(entry, f"{source}: rule {number}") for number, entry in enumerate(listed, start=1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{source}: two rules are named {name!r}")
    return rules


def _rule(entry: Any, place: str) -> Rule:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{place} is {entry!r}; it must be a table with name, value and a bound")
    for key in entry:
        if key not in _KEYS:
            raise ConfigError(f"{place}: {key!r} is not known; {nearest(str(key), _KEYS)}")
    tests = [key for key in (*_BOUNDS, "is", "is_not") if key in entry]
    name, value = entry.get("name"), entry.get("value")
    if not isinstance(name, str) or not isinstance(value, str) or len(tests) != 1:
        raise ConfigError(f"{place}: needs a name, a value, and one of {', '.join((*_BOUNDS, 'is', 'is_not'))}")
    _check_value(value, place)
    operand = entry[tests[0]]
    if tests[0] in _BOUNDS and (isinstance(operand, bool) or not isinstance(operand, (int, float))):
        raise ConfigError(f"{place}: {tests[0]} is {operand!r}; it must be a number")
    if tests[0] not in _BOUNDS and not isinstance(operand, list):
        operand = [operand]
    missing = entry.get("missing", "drop")
    if missing not in ("drop", "keep"):
        raise ConfigError(f"{place}: missing is {missing!r}; choose drop or keep")
    return Rule(name, value, tests[0], operand, missing == "keep", bool(entry.get("optional", False)))


def _check_value(value: str, place: str) -> None:
    section, _, rest = value.partition(".")
    known = {"image": _IMAGE, "caption": _CAPTION}.get(section)
    if section not in ("image", "caption", "column", "metadata") or not rest:
        raise ConfigError(f"{place}: value {value!r} must begin with image., caption., column. or metadata.")
    if known and rest not in known:
        raise ConfigError(f"{place}: value {value!r} is not known; {nearest(rest, known)}")


class RuleSet:
    """Rules as a filter of record batches of one run."""

    def __init__(self, rules: Sequence[Rule], present: Sequence[str], frequencies: Frequencies | None = None) -> None:
        """``present`` are the run's columns. ConfigError for a rule that needs what is not there."""
        kept: list[Rule] = []
        has_ngrams = frequencies is not None and frequencies.ngrams is not None
        self.skipped: tuple[str, ...] = tuple(
            rule.name
            for rule in rules
            if rule.optional and ((rule.column and rule.column not in present) or (rule.is_ngram and not has_ngrams))
        )
        for rule in rules:
            if rule.name in self.skipped:
                continue
            if rule.column and rule.column not in present:
                raise ConfigError(
                    f"rule {rule.name!r}: the run has no column {rule.column!r}; {nearest(rule.column, present)}"
                )
            if rule.value in ("image.captions", "caption.frequency") and frequencies is None:
                raise ConfigError(
                    f"rule {rule.name!r}: needs how often captions and images occur; run `curator concepts RUN "
                    "--output OUT` and give --frequencies OUT"
                )
            if rule.is_ngram and not has_ngrams:
                raise ConfigError(
                    f"rule {rule.name!r}: needs how often words and pairs of words occur; run `curator concepts RUN "
                    "--ngrams --output OUT` and give --frequencies OUT"
                )
            kept.append(rule)
        self.rules = tuple(kept)
        self._frequencies = frequencies

    @property
    def columns(self) -> list[str]:
        """The columns that a batch must have."""
        needed = {"sample_id", "status"}
        for rule in self.rules:
            section, _, rest = rule.value.partition(".")
            if section == "image":
                needed |= {"captions": {"sha256"}, "format": {"format"}}.get(rest, {"width", "height"})
            else:
                needed.add(rule.column or section)
        return sorted(needed)

    def __call__(self, batch: pa.RecordBatch) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of the n rows are kept [n], and which of them each rule lets pass [rules, n].

        Rejected rows are not kept and pass every rule: they are counted as what they are.
        """
        ok = np.asarray(pc.equal(batch.column("status"), STATUS_OK).to_numpy(zero_copy_only=False), np.bool_)
        values: dict[str, Sequence[Any]] = {}
        passed = np.ones((len(self.rules), len(ok)), np.bool_)
        for number, rule in enumerate(self.rules):
            if rule.value not in values:
                values[rule.value] = self._values(batch, rule.value)
            passed[number] = rule.holds(values[rule.value]) | ~ok
        return ok & passed.all(axis=0), passed

    def _values(self, batch: pa.RecordBatch, value: str) -> Sequence[Any]:
        section, _, rest = value.partition(".")
        if section == "column":
            return list(batch.column(rest).to_pylist())
        if section == "metadata":
            return [value_at(metadata, rest.split(".")) for metadata in batch.column("metadata").to_pylist()]
        if section == "caption":
            captions = [caption or None for caption in batch.column("caption").to_pylist()]
            if rest == "ngram_rank":
                return self._rarest(captions)
            return [None if caption is None else self._of_caption(caption, rest) for caption in captions]
        if rest == "format":
            return list(batch.column("format").to_pylist())
        if rest == "captions":
            assert self._frequencies is not None
            counts = self._frequencies.images
            return [None if digest is None else counts.get(digest, 1) for digest in batch.column("sha256").to_pylist()]
        sides = zip(batch.column("width").to_pylist(), batch.column("height").to_pylist(), strict=True)
        return [None if None in pair else _of_sides(*pair, rest) for pair in sides]

    def _rarest(self, captions: Sequence[str | None]) -> Sequence[int | None]:
        assert self._frequencies is not None
        assert self._frequencies.ngrams is not None
        ranks = iter(self._frequencies.ngrams.rarest([caption for caption in captions if caption is not None]))
        return [None if caption is None else next(ranks) for caption in captions]

    def _of_caption(self, caption: str, what: str) -> int:
        if what == "chars":
            return len(caption)
        if what == "words":
            return len(caption.split())
        assert self._frequencies is not None
        return self._frequencies.captions.get(caption_key(caption), 1)


def _of_sides(width: int, height: int, what: str) -> float:
    short, long = sorted((width, height))
    return {
        "width": width, "height": height, "short_side": short, "long_side": long, "aspect": long / max(short, 1),
        "pixels": width * height,
    }[what]  # fmt: skip
