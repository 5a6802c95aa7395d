"""Choosing several labels, and hub biases, against loops that read like the rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.tags import hub_bias, select_tags


def naive(row: list[float], thresholds: list[float], k: int, relative: float, exclusive: list[list[int]]) -> list[int]:
    kept = {label for label, score in enumerate(row) if score >= thresholds[label]}
    for group in exclusive:
        inside = sorted(kept & set(group), key=lambda label: (-row[label], group.index(label)))
        kept -= set(inside[1:])
    best = max((row[label] for label in kept), default=0.0)
    if relative > 0:
        kept = {label for label in kept if row[label] >= np.float32(relative) * np.float32(best)}
    return sorted(kept, key=lambda label: (-row[label], label))[:k]


values = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])  # ties are the rule


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_select_tags_is_the_loop(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.lists(values, min_size=count, max_size=count), min_size=1, max_size=4))
    thresholds = data.draw(st.lists(values, min_size=count, max_size=count))
    k = data.draw(st.integers(1, 7))
    relative = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    exclusive = data.draw(st.lists(st.lists(st.integers(0, count - 1), min_size=1, unique=True), max_size=2))
    scores, indices, counts = select_tags(
        torch.tensor(rows), torch.tensor(thresholds), k,
        relative=relative, exclusive=[torch.tensor(group) for group in exclusive],
    )  # fmt: skip
    assert scores.shape == indices.shape == (len(rows), min(k, count))
    for n, row in enumerate(rows):
        expected = naive(row, thresholds, k, relative, exclusive)
        assert indices[n, : counts[n]].tolist() == expected
        assert scores[n].tolist() == [row[label] for label in expected] + [0.0] * (min(k, count) - len(expected))


def test_hub_bias_with_fewer_queries_than_k_is_the_mean() -> None:
    bias = torch.tensor([[0.9, 0.1], [0.2, 0.4]]) @ torch.eye(2)
    assert hub_bias(bias, torch.eye(2), k=1).tolist() == pytest.approx([0.9, 0.4])
    assert hub_bias(bias, torch.eye(2), k=9).tolist() == pytest.approx([0.5, 0.3])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 12), st.integers(0, 1000))
def test_hub_bias_is_the_loop(gallery: int, queries: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, references = rng.standard_normal((gallery, 4)), rng.standard_normal((queries, 4))
    expected = [np.mean(sorted((references @ item).tolist(), reverse=True)[:k]) for item in items]
    found = hub_bias(torch.tensor(items), torch.tensor(references), k)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="no reference queries"):
        hub_bias(torch.tensor(items), torch.ones(0, 4))
