"""Owns the report on predictions whose truth is known: which measures, over which rows. Knows no file and no page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curator.evaluation.predictions import Predictions
from curator.kernels import metrics

if TYPE_CHECKING:
    from curator.evaluation.naming import Named, Naming

BINS = 15
_CURVE_POINTS = 100
_PAIRS = 30


def evaluate(found: Predictions, *, samples: int = 1000, seed: int = 0, naming: Naming | None = None) -> dict[str, Any]:
    """The report as plain values for JSON; intervals are 95 % by ``samples`` bootstrap samples drawn by ``seed``.

    With one true label a row: top1, top5 (of the stored labels), macro (mean recall over true labels), ECE of the best
    score, coverage and risk, confusions. With several: also mAP and F1 over the stored labels; top1 asks whether the
    best label is among the true ones. Rows without any label count as wrong, with the confidence 0. ``naming`` adds the
    measures of labels that come from no vocabulary.
    """
    truth = _matrix(found)
    hit = metrics.hits_at(found.codes, truth, 1)
    confidence = np.clip(np.where(found.codes[:, 0] >= 0, found.scores[:, 0], 0.0), 0.0, 1.0)
    report: dict[str, Any] = {
        "rows": len(hit),
        "left_out": dict(found.left_out),
        "labels": int(truth.any(axis=0).sum()),
        "stored_per_row": int(found.codes.shape[1]),
        "multi_label": found.multi_label,
    }
    draw = _Drawing(samples, seed, len(hit))
    report["measures"] = {
        "top1": draw.of_rows(hit),
        "top5": draw.of_rows(metrics.hits_at(found.codes, truth, 5)),
        "ece": draw.of(lambda rows: metrics.calibration_error(confidence[rows], hit[rows], BINS)),
        **(_several(found, truth, draw) if found.multi_label else _single(found, hit, draw)),
        **({} if naming is None else _named(naming(found), draw)),
    }
    if naming is not None:
        report["sentences"] = naming.sentences
    report["reliability"] = _diagram(confidence, hit)
    report["selective"] = _selective(found, confidence, hit)
    report["per_label"] = _per_label(found, truth)
    if not found.multi_label:
        report["confusions"] = _confusions(found)
    return report


class _Drawing:
    """Values with their bootstrap intervals."""

    def __init__(self, samples: int, seed: int, rows: int) -> None:
        self._samples, self._seed, self._rows = samples, seed, rows

    def of(self, statistic: Callable[[NDArray[np.int64]], float], *, samples: int | None = None) -> dict[str, Any]:
        drawn = self._samples if samples is None else min(samples, self._samples)
        low, high = metrics.bootstrap(statistic, self._rows, samples=drawn, seed=self._seed)
        return {"value": _number(statistic(np.arange(self._rows))), "low": _number(low), "high": _number(high)}

    def of_rows(self, values: NDArray[Any]) -> dict[str, Any]:
        return self.of(lambda rows: float(values[rows].mean()) if len(rows) else float("nan"))


def _named(found: Named, draw: _Drawing) -> dict[str, Any]:
    clusters = {"value": _number(found.cluster_accuracy), "low": None, "high": None}  # rows do not have it each
    rows = {"semantic_iou": found.iou} | ({} if found.similarity is None else {"semantic_similarity": found.similarity})
    return {"cluster_accuracy": clusters, **{name: draw.of_rows(values) for name, values in rows.items()}}


def _matrix(found: Predictions) -> NDArray[np.bool_]:
    matrix = np.zeros((len(found.truth), len(found.names)), np.bool_)
    for row, labels in enumerate(found.truth):
        matrix[row, list(labels)] = True
    return matrix


def _single(found: Predictions, hit: NDArray[np.bool_], draw: _Drawing) -> dict[str, Any]:
    classes = np.array([labels[0] for labels in found.truth], np.int64)
    return {"macro": draw.of(lambda rows: metrics.macro_mean(hit[rows], classes[rows], len(found.names)))}


def _several(found: Predictions, truth: NDArray[np.bool_], draw: _Drawing) -> dict[str, Any]:
    scores = np.zeros(truth.shape, np.float32)
    kept = np.zeros(truth.shape, np.bool_)
    rows, ranks = np.nonzero(found.codes >= 0)
    scores[rows, found.codes[rows, ranks]] = found.scores[rows, ranks]
    kept[rows, found.codes[rows, ranks]] = True
    relevant = np.flatnonzero(truth.any(axis=0))

    def mean_precision(drawn: NDArray[np.int64]) -> float:
        values = [metrics.average_precision(scores[drawn, label], truth[drawn, label]) for label in relevant]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def micro(drawn: NDArray[np.int64]) -> float:
        both = float((kept[drawn] & truth[drawn]).sum())
        return metrics.harmonic(_share(both, kept[drawn].sum()), _share(both, truth[drawn].sum()))

    # A sample costs a sort for every label: a hundred of them place the ends of the interval well enough.
    return {"map": draw.of(mean_precision, samples=100), "f1": draw.of(micro)}


def _diagram(confidence: NDArray[np.float32], hit: NDArray[np.bool_]) -> list[dict[str, Any]]:
    diagram = metrics.reliability(confidence, hit, BINS)
    return [
        {
            "low": bin_ / BINS,
            "high": (bin_ + 1) / BINS,
            "rows": int(count),
            "confidence": _number(mean),
            "accuracy": _number(accuracy),
        }
        for bin_, (count, mean, accuracy) in enumerate(
            zip(diagram.counts, diagram.confidence, diagram.accuracy, strict=True)
        )
    ]


def _selective(found: Predictions, confidence: NDArray[np.float32], hit: NDArray[np.bool_]) -> dict[str, Any]:
    """What abstaining buys: as the run decided, and along the curve of every score that could decide."""
    kept = ~found.abstained
    orders = {"score": confidence}
    if found.foreign is not None:
        orders["ood"] = -np.nan_to_num(found.foreign, nan=np.inf)
    curves = {}
    for name, order in orders.items():
        coverage, risk = metrics.risk_coverage(order, hit)
        shown = np.unique(np.linspace(0, len(coverage) - 1, min(_CURVE_POINTS, len(coverage))).astype(np.int64))
        curves[name] = {
            "aurc": _number(metrics.area_under(coverage, risk)),
            "coverage": [_number(each) for each in coverage[shown]],
            "risk": [_number(each) for each in risk[shown]],
        }
    return {
        "coverage": _number(kept.mean()),
        "risk": _number(1 - hit[kept].mean()) if kept.any() else None,
        "curves": curves,
    }


def _per_label(found: Predictions, truth: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Per label: rows that it is true of, rows that got it, precision, recall, F1; the most frequent first.

    A row gets its best label, or with several true labels all that it kept.
    """
    got = np.zeros(truth.shape, np.bool_)
    rows, ranks = np.nonzero((found.codes if found.multi_label else found.codes[:, :1]) >= 0)
    got[rows, found.codes[rows, ranks]] = True
    both, true, given = ((each).sum(axis=0) for each in (got & truth, truth, got))
    table = []
    for code in np.flatnonzero(true + given).tolist():
        precision, recall = _share(both[code], given[code]), _share(both[code], true[code])
        table.append(
            {
                "label": found.names[code],
                "rows": int(true[code]),
                "given": int(given[code]),
                "precision": precision,
                "recall": recall,
                "f1": metrics.harmonic(precision or 0.0, recall or 0.0),
            }
        )
    return sorted(table, key=lambda each: (-each["rows"], each["label"]))


def _confusions(found: Predictions) -> list[dict[str, Any]]:
    """The pairs (true label, other label given) that occur most."""
    pairs: Counter[tuple[int, int]] = Counter()
    for labels, best in zip(found.truth, found.codes[:, 0].tolist(), strict=True):
        if best >= 0 and best not in labels:
            pairs[labels[0], best] += 1
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], found.names[item[0][0]], found.names[item[0][1]]))
    return [
        {"true": found.names[true], "given": found.names[given], "rows": count}
        for (true, given), count in ranked[:_PAIRS]
    ]


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 0.0


def _number(value: float) -> float | None:
    """A number as JSON knows it: there is no NaN."""
    return None if math.isnan(value) else round(float(value), 6)
