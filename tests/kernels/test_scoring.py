"""Probabilities and decisions against naive loops, dense against streamed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.scoring import Family, decide, probabilities, top_probabilities
from curator.kernels.vectors import l2_normalize
from tests.kernels.largest import LargestTensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_softmax_and_sigmoid_equal_a_naive_loop(dtype: torch.dtype) -> None:
    cosine = torch.tensor([[0.3, 0.1, -0.2], [0.25, 0.25, 0.0]], dtype=dtype)
    softmax = probabilities(cosine, scale=100.0, family="softmax")
    sigmoid = probabilities(cosine, scale=100.0, bias=-10.0, family="sigmoid")
    for i, row in enumerate(cosine.float().tolist()):
        total = sum(math.exp(100 * value) for value in row)
        assert softmax[i].tolist() == pytest.approx([math.exp(100 * value) / total for value in row], rel=1e-4)
        assert sigmoid[i].tolist() == pytest.approx([1 / (1 + math.exp(10 - 100 * value)) for value in row], rel=1e-4)
    assert softmax.dtype == sigmoid.dtype == torch.float32


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 700),
    k=st.integers(1, 9),
    scale=st.floats(0.5, 100),
    seed=st.integers(0, 2**31),
    family=st.sampled_from(["softmax", "sigmoid"]),
)
def test_streamed_equals_dense(count: int, k: int, scale: float, seed: int, family: Family) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries = l2_normalize(torch.randn(5, 12, generator=generator))
    bank = l2_normalize(torch.randn(count, 12, generator=generator))
    scores, indices = top_probabilities(queries, bank, k, scale=scale, bias=-2.0, family=family, chunk=128)
    dense = probabilities(queries @ bank.T, scale=scale, bias=-2.0, family=family)
    assert scores.shape == (5, min(k, count))
    assert torch.allclose(scores, dense.gather(1, indices), rtol=1e-4, atol=1e-7)
    assert torch.allclose(scores, dense.topk(min(k, count)).values, rtol=1e-4, atol=1e-7)


def test_one_label_has_all_the_probability() -> None:
    queries = l2_normalize(torch.randn(3, 8))
    scores, _ = top_probabilities(queries, queries[:1], 5, scale=100.0, family="softmax")
    assert scores.tolist() == [[1.0]] * 3


def test_softmax_over_100_000_labels_never_holds_them_all_for_the_batch() -> None:
    queries, bank = l2_normalize(torch.randn(8, 16)), l2_normalize(torch.randn(100_000, 16))
    with LargestTensor() as largest:
        scores, indices = top_probabilities(queries, bank, 5, scale=50.0, family="softmax", chunk=8192)
    assert largest.bytes <= 8192 * 8 * 4
    dense = probabilities(queries @ bank.T, scale=50.0, family="softmax")
    assert torch.allclose(scores, dense.gather(1, indices), rtol=1e-4)


def test_what_cannot_be_scored_is_refused() -> None:
    vectors = torch.ones(1, 2)
    with pytest.raises(ValueError, match="the sigmoid needs a bias"):
        probabilities(vectors, scale=1.0, family="sigmoid")
    with pytest.raises(ValueError, match="scale is 0"):
        top_probabilities(vectors, vectors, 1, scale=0, family="softmax")


def naive_decision(row: list[float], k: int, min_score: float, min_margin: float) -> tuple[int, bool]:
    kept = [score for score in row[:k] if score >= min_score]
    lead = row[0] - (row[1] if len(row) > 1 else 0.0)
    return len(kept), not kept or lead < min_margin


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=4, max_size=4), min_size=1, max_size=5),
    width=st.integers(1, 4),
    k=st.integers(1, 5),
    min_score=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    min_margin=st.sampled_from([0.0, 0.125, 0.5]),
)
def test_decisions_equal_a_naive_loop(
    rows: list[list[float]], width: int, k: int, min_score: float, min_margin: float
) -> None:
    ranked = [sorted(row, reverse=True)[:width] for row in rows]
    counts, abstained = decide(torch.tensor(ranked), k=k, min_score=min_score, min_margin=min_margin)
    expected = [naive_decision(row, k, min_score, min_margin) for row in ranked]
    assert list(zip(counts.tolist(), abstained.tolist(), strict=True)) == expected
