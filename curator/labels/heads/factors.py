"""Owns contextual factors as options: their values, their combinations and the prompts of labels in them.

Knows no head. The form is PerceptionCLIP's published one: {factor: {value: [description, ...]}}.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curator.data import COLUMN_NAME, ColumnSpec, TextBank
from curator.labels.templates import fill
from curator.options import fault, pattern, phrases, table

if TYPE_CHECKING:
    from torch import Tensor

    from curator.labels.heads.base import LabelSetSpec

_MOST_TEXTS = 1_000_000


@dataclass(frozen=True)
class Factors:
    """The factors in use. ``values[f]`` maps a value's name to its descriptions; combinations run the last fastest."""

    names: tuple[str, ...]
    values: tuple[Mapping[str, tuple[str, ...]], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(map(len, self.values))

    @property
    def combinations(self) -> int:
        return math.prod(self.sizes)

    def phrases(self) -> list[tuple[str, ...]]:
        """For each combination of values, what may stand after the label: ``, on grass, at night`` or nothing."""
        found = []
        for chosen in itertools.product(*(factor.values() for factor in self.values)):
            parts = ([part for part in each if part] for each in itertools.product(*chosen))
            found.append(tuple(dict.fromkeys("".join(f", {part}" for part in each) for each in parts)))
        return found

    def bank(self, factor: int, vectors: Tensor) -> TextBank:
        """The values of one factor as a bank, for a column of labels."""
        names = tuple(self.values[factor])
        return TextBank(names, names, vectors, self.names[factor])


def factors_of(spec: LabelSetSpec) -> Factors:
    """The factors that ``use`` lists (all by default). ConfigError where one is unknown or not of the form."""
    known = table(spec, "factors")
    used = phrases(spec, "use", spec.options.get("use", list(known)))
    found = []
    for name in used:
        if name not in known:
            raise fault(spec, f"use lists the factor {name!r}; factors has {', '.join(known)}")
        if not COLUMN_NAME.fullmatch(name):
            raise fault(spec, f"the factor {name!r} must be snake_case: it becomes part of a column's name")
        values = known[name]
        if not isinstance(values, Mapping) or len(values) < 2:
            raise fault(spec, f"the factor {name!r} must be a table of two values or more, each a list of descriptions")
        found.append({value: phrases(spec, f"{name} {value!r}", own) or ("",) for value, own in values.items()})
    if not found:
        raise fault(spec, "use lists no factor")
    factors = Factors(used, tuple(found))
    count = len(spec.vocabulary) * math.prod(sum(map(len, each.values())) for each in factors.values)
    if count > _MOST_TEXTS:
        raise fault(spec, f"{count} prompts of labels in contexts are too many; use fewer factors at a time")
    return factors


def prompts_in(spec: LabelSetSpec, factors: Factors, names: Sequence[str]) -> list[list[str]]:
    """The prompts of every name in every combination, name-major: ``main`` filled, the context, a full stop."""
    main = pattern(spec, "main", "a photo of a {}", "{}").rstrip(".")
    contexts = factors.phrases()
    return [[f"{fill(main, name)}{phrase}." for phrase in own] for name in names for own in contexts]


def factor_columns(spec: LabelSetSpec, factors: Factors) -> tuple[ColumnSpec, ...]:
    """A column of labels for every factor, its values by probability."""
    return tuple(
        ColumnSpec(f"{spec.name}_{name}", "labels", f"Values of {name} by probability") for name in factors.names
    )
