"""Totals from samples: exact where all is known, near the truth and honest about it where not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.estimates import Estimate, draw, strata_by_size, totals


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.integers(1, 30))
def test_a_sample_is_of_every_stratum_and_of_nothing_twice(sizes: list[int], sample: int) -> None:
    strata = strata_by_size(sizes, sample)
    drawn = draw(strata, sample)
    assert len(set(drawn)) == len(drawn) <= len(sizes)
    assert {int(strata[index]) for index in drawn} == set(strata.tolist())
    assert len(drawn) >= min(sample, len(sizes)) * 0.8 - 1
    ordered = [int(strata[index]) for index in np.argsort(sizes, kind="stable")]
    assert ordered == sorted(ordered)


def test_what_was_all_measured_is_certain() -> None:
    sizes = [10, 20, 30, 40]
    strata = strata_by_size(sizes, 12)
    measured = [1.0, 5.0, 2.0, 9.0]
    assert totals(sizes, strata, np.arange(4), measured) == Estimate(17.0, 17.0, 17.0)


def test_by_hand() -> None:
    """Two strata; in the first 1 of size per 10 measured over 30 of 50, in the second 2 per 10 over 100 of 300."""
    sizes, strata = [10, 20, 20, 100, 100, 100], np.array([0, 0, 0, 1, 1, 1])
    found = totals(sizes, strata, np.array([0, 1, 3]), [1.0, 2.0, 20.0])
    assert found.value == pytest.approx(1 + 2 + 20 + 20 * 0.1 + 200 * 0.2)
    assert (found.low, found.high) == (pytest.approx(found.value), pytest.approx(found.value))


def test_a_stratum_without_a_measurement_goes_by_the_ratio_of_all() -> None:
    found = totals([10, 10, 10, 10], np.array([0, 0, 1, 1]), np.array([0]), [3.0])
    assert found.value == pytest.approx(12.0)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """300 populations of shards whose images follow their size loosely: of 95 % intervals at least 88 % hold it."""
    generator, held, errors = np.random.default_rng(5), 0, []
    for trial in range(300):
        sizes = generator.lognormal(17, 0.8, size=200)
        images = sizes / generator.lognormal(11, 0.35, size=200)
        strata = strata_by_size(sizes, 12)
        drawn = np.asarray(draw(strata, 12, seed=trial))
        found = totals(sizes, strata, drawn, images[drawn], rounds=400, seed=trial)
        held += found.low <= images.sum() <= found.high
        errors.append(found.value / images.sum() - 1)
    assert held / 300 >= 0.88
    assert abs(np.mean(errors)) < 0.02


def test_arithmetic_keeps_the_interval() -> None:
    one = Estimate(2.0, 1.0, 3.0)
    assert one.times(2.0, 1.0) == Estimate(5.0, 3.0, 7.0)
    assert one.plus(one) == Estimate(4.0, 2.0, 6.0)
    assert one.at_least(1.5) == Estimate(2.0, 1.5, 3.0)
