"""The exact search against a naive loop: ties, duplicates, dtypes, block borders, and its memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curator.kernels.ranking import rank, top_k
from tests.kernels.largest import LargestTensor


def small_integers(rows: int, dim: int, seed: int, dtype: torch.dtype = torch.float32, span: int = 2) -> Tensor:
    """Vectors whose products are exact in every dtype, and full of ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-span, span + 1, (rows, dim), generator=generator).to(dtype)


def naive_top_k(queries: Tensor, bank: Tensor, k: int) -> tuple[list[list[float]], list[list[int]]]:
    scores, indices = [], []
    for query in queries.tolist():
        products = [sum(a * b for a, b in zip(query, row, strict=True)) for row in bank.tolist()]
        order = sorted(range(len(products)), key=lambda i: (-products[i], i))[:k]
        indices.append(order)
        scores.append([products[i] for i in order])
    return scores, indices


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 5),
    count=st.integers(1, 300),
    k=st.integers(1, 12),
    chunk=st.sampled_from([1, 64, 100, 128, 4096]),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
)
def test_equals_a_naive_loop(rows: int, count: int, k: int, chunk: int, seed: int, dtype: torch.dtype) -> None:
    queries, bank = small_integers(rows, 4, seed, dtype), small_integers(count, 4, seed + 1, dtype)
    scores, indices = top_k(queries, bank, k, chunk=chunk)
    expected_scores, expected_indices = naive_top_k(queries, bank, k)
    assert indices.tolist() == expected_indices
    assert scores.tolist() == expected_scores
    assert scores.dtype == torch.float32


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), chunk=st.sampled_from([64, 512, 2048]))
def test_equals_a_stable_sort_over_many_tiles(seed: int, chunk: int) -> None:
    queries, bank = small_integers(9, 24, seed, span=9), small_integers(3000, 24, seed + 1, span=9)
    scores, indices = top_k(queries, bank, 7, chunk=chunk)
    expected = torch.sort(queries @ bank.T, dim=1, descending=True, stable=True)
    assert torch.equal(indices, expected.indices[:, :7])
    assert torch.equal(scores, expected.values[:, :7])


def test_equal_rows_come_by_index_across_tiles_and_blocks() -> None:
    bank = torch.ones(1000, 3)
    scores, indices = top_k(torch.ones(2, 3), bank, 5, chunk=128)
    assert indices.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert scores.tolist() == [[3.0] * 5] * 2


def test_a_permutation_of_the_bank_permutes_the_result() -> None:
    queries, bank = torch.randn(4, 16), torch.randn(500, 16)
    order = torch.randperm(500)
    scores, indices = top_k(queries, bank, 5, chunk=128)
    permuted_scores, permuted = top_k(queries, bank[order], 5, chunk=128)
    assert torch.equal(order[permuted], indices)
    assert torch.allclose(permuted_scores, scores)


def test_negative_zero_ties_with_zero() -> None:
    assert top_k(torch.ones(1, 1), torch.tensor([[-0.0], [0.0], [-0.0]]), 3)[1].tolist() == [[0, 1, 2]]


def test_all_negative_scores_and_one_row() -> None:
    scores, indices = top_k(torch.ones(1, 2), torch.tensor([[-3.0, -1.0]]), 4)
    assert scores.tolist() == [[-4.0]]
    assert indices.tolist() == [[0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scores_of_one_sign_that_rise_and_fall_along_the_bank(dtype: torch.dtype, sign: float) -> None:
    rising = (torch.arange(3000) % 120).sort().values.view(-1, 1)
    bank = sign * torch.cat([rising, rising.flip(0)]).to(dtype)
    scores, indices = top_k(torch.ones(2, 1, dtype=dtype), bank, 30, chunk=256)
    expected = torch.sort(bank.float().view(1, -1), dim=1, descending=True, stable=True)
    assert torch.equal(scores, expected.values[:, :30].expand(2, -1))
    assert torch.equal(indices, expected.indices[:, :30].expand(2, -1))


def test_memory_stays_bounded_where_every_row_beats_those_before() -> None:
    bank = torch.linspace(-1, 1, 100_000).view(-1, 1)
    with LargestTensor() as largest:
        _, indices = top_k(torch.ones(4, 1), bank, 5, chunk=4096)
    assert indices.tolist() == [[99_999, 99_998, 99_997, 99_996, 99_995]] * 4
    assert largest.bytes <= 4096 * 4 * 8


def test_no_query_gives_no_row() -> None:
    scores, indices = top_k(torch.empty(0, 4), torch.ones(9, 4), 3)
    assert scores.shape == indices.shape == (0, 3)


def test_log_sum_exp_runs_over_the_whole_bank() -> None:
    queries, bank = torch.randn(6, 16), torch.randn(1000, 16)
    result = rank(queries, bank, 3, scale=2.5, chunk=128)
    assert result.log_sum_exp is not None
    assert torch.allclose(result.log_sum_exp, torch.logsumexp(2.5 * queries @ bank.T, dim=1), rtol=1e-5)
    assert rank(queries, bank, 3).log_sum_exp is None


def test_memory_is_bounded_by_the_block() -> None:
    queries, bank = torch.randn(16, 8), torch.randn(100_000, 8)
    with LargestTensor() as largest:
        rank(queries, bank, 5, scale=10.0, chunk=4096)
    assert largest.bytes <= 4096 * 16 * 4


@pytest.mark.parametrize(("k", "dim", "message"), [(0, 4, "k is 0"), (1, 3, "4 dimensions for a bank of 3")])
def test_nonsense_is_refused(k: int, dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        top_k(torch.ones(1, 4), torch.ones(2, dim), k)
