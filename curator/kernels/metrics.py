"""Owns the measures of labels against the truth, as pure numpy. Knows no file, no label name and no page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"
Flags: TypeAlias = "NDArray[np.bool_]"


def hits_at(ranked: Ints, truth: Flags, k: int) -> Flags:
    """Whether one of the first ``k`` labels is true, [N]. ``ranked`` [N, K] holds labels, -1 where there is none.

    ``truth`` [N, C] is True for every label that is right.
    """
    best = ranked[:, :k]
    found = np.take_along_axis(truth, np.maximum(best, 0), axis=1) & (best >= 0)
    return np.asarray(found.any(axis=1), np.bool_)


def macro_mean(values: NDArray[Any], classes: Ints, count: int) -> float:
    """Mean over classes of the mean of ``values`` [N] within a class; classes 0 … count-1 without rows do not count."""
    rows = np.bincount(classes, minlength=count)
    sums = np.bincount(classes, weights=np.asarray(values, np.float64), minlength=count)
    present = rows > 0
    return float((sums[present] / rows[present]).mean()) if present.any() else float("nan")


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows by confidence in equal bins: how many, their mean confidence and accuracy (NaN where a bin is empty)."""

    counts: Ints
    confidence: Floats
    accuracy: Floats


def reliability(confidence: NDArray[Any], correct: NDArray[Any], bins: int = 15) -> Reliability:
    """The reliability diagram of ``confidence`` [N] in [0, 1]: bin m holds ((m - 1) / M, m / M], the first also 0."""
    places = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(places, weights=np.asarray(confidence, np.float64), minlength=bins) / counts
        accuracy = np.bincount(places, weights=np.asarray(correct, np.float64), minlength=bins) / counts
    return Reliability(counts, mean, accuracy)


def calibration_error(confidence: NDArray[Any], correct: NDArray[Any], bins: int = 15) -> float:
    """ECE: the mean over rows of |accuracy - confidence| of their bin. Guo et al. 2017, equation 5; 0 without rows."""
    if not len(confidence):
        return 0.0
    diagram = reliability(confidence, correct, bins)
    gaps = np.nan_to_num(np.abs(diagram.accuracy - diagram.confidence))
    return float((diagram.counts * gaps).sum() / len(confidence))


def average_precision(scores: NDArray[Any], relevant: NDArray[Any]) -> float:
    """Mean over relevant rows of the precision at their rank; NaN without any.

    Rows of equal score share the rank of the last of them, so that the order in which they came does not matter.
    """
    relevant = np.asarray(relevant, np.bool_)
    if not relevant.any():
        return float("nan")
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked, found = np.asarray(scores)[order], np.cumsum(relevant[order])
    last = np.searchsorted(-ranked, -ranked, side="right") - 1
    precision = found[last] / (last + 1)
    return float(precision[relevant[order]].mean())


def risk_coverage(confidence: NDArray[Any], correct: NDArray[Any]) -> tuple[Floats, Floats]:
    """Coverage and risk: the share of rows kept, the most confident first, and the error rate among them.

    One point for each different confidence: rows that tie are kept or left together. El-Yaniv & Wiener 2010.
    """
    order = np.argsort(-np.asarray(confidence, np.float64), kind="stable")
    ranked = np.asarray(confidence, np.float64)[order]
    wrong = np.cumsum(~np.asarray(correct, np.bool_)[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.empty(0, np.int64)
    return (ends + 1) / max(1, len(ranked)), wrong[ends] / (ends + 1)


def area_under(coverage: Floats, risk: Floats) -> float:
    """AURC: the mean risk over coverage, each step weighted by the rows it adds. Geifman & El-Yaniv 2017."""
    return float((np.diff(coverage, prepend=0.0) * risk).sum())


def bootstrap(
    statistic: Callable[[Ints], float], rows: int, *, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of ``statistic`` (of row numbers, drawn with replacement) at ``level``. Efron 1979.

    The same seed draws the same rows. Samples where the statistic is NaN are left out.
    """
    generator = np.random.default_rng(seed)
    values = np.array([statistic(generator.integers(0, rows, rows)) for _ in range(samples)]) if rows else np.empty(0)
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def harmonic(first: float, second: float) -> float:
    """2ab / (a + b), 0 where both are 0."""
    return 2 * first * second / (first + second) if first + second else 0.0
