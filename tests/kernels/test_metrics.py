"""Measures against loops that read like their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.metrics import (
    area_under,
    average_precision,
    bootstrap,
    calibration_error,
    harmonic,
    hits_at,
    macro_mean,
    reliability,
    risk_coverage,
)

levels = st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])  # ties are the rule
graded = st.lists(st.tuples(levels, st.booleans()), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hits_at_is_the_loop(data: st.DataObject) -> None:
    labels, rows, width = (data.draw(st.integers(1, 4)) for _ in range(3))
    ranked = np.array([[data.draw(st.integers(-1, labels - 1)) for _ in range(width)] for _ in range(rows)])
    truth = np.array([[data.draw(st.booleans()) for _ in range(labels)] for _ in range(rows)])
    k = data.draw(st.integers(1, 5))
    expected = [any(code >= 0 and truth[row, code] for code in ranked[row, :k]) for row in range(rows)]
    assert hits_at(ranked, truth, k).tolist() == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=20))
def test_macro_mean_is_the_loop(rows: list[tuple[bool, int]]) -> None:
    means = [np.mean([hit for hit, own in rows if own == label]) for label in {own for _, own in rows}]
    found = macro_mean(np.array([hit for hit, _ in rows]), np.array([own for _, own in rows]), 5)
    assert found == pytest.approx(np.mean(means))


@given(graded, st.integers(1, 20))
def test_calibration_error_is_the_loop(rows: list[tuple[float, bool]], bins: int) -> None:
    error, places = 0.0, 0
    for number in range(bins):
        inside = [
            (confidence, hit)
            for confidence, hit in rows
            if number < np.float64(confidence) * bins <= number + 1 or (number == 0 and confidence == 0)
        ]
        places += len(inside)
        if inside:
            error += abs(sum(hit for _, hit in inside) - sum(confidence for confidence, _ in inside)) / len(rows)
    assert places == len(rows)
    confidence, correct = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    assert calibration_error(confidence, correct, bins) == pytest.approx(error)
    assert reliability(confidence, correct, bins).counts.sum() == len(rows)


def test_calibration_by_hand() -> None:
    assert calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1, 0, 0, 0]), 10) == pytest.approx(0.25)
    assert calibration_error(np.array([]), np.array([])) == 0.0


@given(graded, st.randoms())
def test_average_precision_is_the_loop_in_any_order(rows: list[tuple[float, bool]], shuffle: object) -> None:
    values = [np.mean([other for score, other in rows if score >= limit]) for limit, relevant in rows if relevant]
    shuffled = list(rows)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    found = average_precision(np.array([row[0] for row in shuffled]), np.array([row[1] for row in shuffled]))
    assert found == pytest.approx(np.mean(values)) if values else np.isnan(found)


@given(graded)
def test_risk_coverage_is_the_loop(rows: list[tuple[float, bool]]) -> None:
    coverage, risk = risk_coverage(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))
    limits = sorted({confidence for confidence, _ in rows}, reverse=True)
    kept = [[hit for confidence, hit in rows if confidence >= limit] for limit in limits]
    assert coverage.tolist() == pytest.approx([len(each) / len(rows) for each in kept])
    assert risk.tolist() == pytest.approx([1 - np.mean(each) for each in kept])
    assert 0 <= area_under(coverage, risk) <= 1
    assert area_under(np.array([0.5, 1.0]), np.array([0.0, 0.5])) == 0.25


def test_bootstrap_is_seeded_and_brackets_a_mean() -> None:
    values = np.random.default_rng(1).normal(5, 1, 400)
    low, high = bootstrap(lambda rows: float(values[rows].mean()), 400, samples=500, seed=3)
    assert (low, high) == bootstrap(lambda rows: float(values[rows].mean()), 400, samples=500, seed=3)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert all(np.isnan(bootstrap(lambda _: float("nan"), 5)))
    assert all(np.isnan(bootstrap(lambda rows: 1.0, 0)))


def test_harmonic() -> None:
    assert (harmonic(0, 0), harmonic(1, 1), harmonic(0.5, 1)) == (0, 1, pytest.approx(2 / 3))
