"""Measures of free labels: the recorded example, and assignments against trying all."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curator.kernels.naming_metrics import assignment, cluster_accuracy, words_in_common


def test_the_recorded_cluster_accuracy() -> None:
    assert cluster_accuracy(list("aabcccd"), list("xxxyyzz")) == pytest.approx(0.7142857142857143)


@given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 5), more=st.integers(0, 2), values=st.sampled_from([2, 5, 1000])
)
def test_no_other_assignment_costs_less(seed: int, rows: int, more: int, values: int) -> None:
    cost = np.random.default_rng(seed).integers(0, values, (rows, rows + more)).astype(np.float64)
    found = assignment(cost)
    assert len(set(found.tolist())) == rows
    best = min(sum(cost[range(rows), list(each)]) for each in permutations(range(rows + more), rows))
    assert cost[np.arange(rows), found].sum() == best


def test_more_rows_than_columns_are_refused() -> None:
    wide: NDArray[np.float64] = np.zeros((3, 2))
    with pytest.raises(ValueError, match="3 rows cannot have a column each of 2"):
        assignment(wide)


def test_more_names_than_truths_and_the_other_way_round() -> None:
    assert cluster_accuracy(list("abcd"), list("xxxx")) == 0.25
    assert cluster_accuracy(list("aaaa"), list("wxyz")) == 0.25
    assert np.isnan(cluster_accuracy([], []))


@pytest.mark.parametrize(
    ("predicted", "target", "share"),
    [("a red dog", "Dog!", 1 / 3), ("dog", "dog", 1.0), ("cat", "dog", 0.0), ("", "!", 0.0), ("rib", "ribs", 0.0)],
)
def test_words_in_common(predicted: str, target: str, share: float) -> None:
    assert words_in_common(predicted, target) == pytest.approx(share)
