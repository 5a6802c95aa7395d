"""Owns MetaCLIP's arithmetic: how a text is spaced, what its entries' counts say of keeping it. Knows no file or image.

Source: Xu et al. 2023, "Demystifying CLIP Data", sections 3.1 to 3.4, and the published matching rule.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

_PUNCTUATION = str.maketrans({c: f" {c} " for c in ",.;:?!`"} | dict.fromkeys("\t\n\r", " "))


def spaced(text: str) -> str:
    """The text as entries are sought in it: ``, . ; : ? ! ` `` with spaces around, tab and line ends as spaces.

    An entry occurs where `` entry `` (with the spaces) is a substring. Case counts, nothing else is normalised.
    One with such punctuation at a word ("St. Louis") never occurs.
    """
    return f" {text} ".translate(_PUNCTUATION)


def entry_probabilities(counts: ArrayLike, t: float) -> NDArray[np.float64]:
    """t / max(count, t): the probability of keeping a text for an entry that ``counts`` texts of the pool have."""
    return t / np.maximum(np.asarray(counts, np.float64), t)


def keep_probability(probabilities: Iterable[float]) -> float:
    """1 - prod(1 - p): a text is kept if the draw of any entry that it has says so. No entry gives 0."""
    return 1.0 - float(np.prod([1.0 - p for p in probabilities]))


def tail_limit(counts: ArrayLike, share: float) -> int:
    """The limit t at which entries rarer than t make up ``share`` of all matches.

    The count at the place where the cumulated share of the sorted counts is nearest to ``share`` (MetaCLIP 2: how the
    English pool's share carries over to another pool). ValueError where nothing was counted.
    """
    ordered = np.sort(np.asarray(counts, np.int64))
    total = ordered.sum()
    if not total:
        raise ValueError("no entry was counted: there is no tail")
    return int(ordered[np.abs(np.cumsum(ordered) / total - share).argmin()])
