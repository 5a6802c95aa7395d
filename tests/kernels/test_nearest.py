"""Exact search through a rounded copy: the same rows as a search of everything, whatever the scores look like."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curator.kernels import nearest as kernel
from curator.kernels.nearest import nearest
from curator.kernels.vectors import l2_normalize


def naive(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """float64 products of everything with everything, equal ones by index."""
    scores, order = (queries.double() @ bank.double().T).sort(dim=1, descending=True, stable=True)
    return scores[:, :k], order[:, :k]


def units(rows: int, dim: int, seed: int, *, around: float = 0.0) -> Tensor:
    """Seeded unit vectors; ``around`` draws them towards one direction, so that all scores are alike."""
    generator = torch.Generator().manual_seed(seed)
    return l2_normalize(torch.randn(rows, dim, generator=generator) + around)


def assert_same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], queries: Tensor, bank: Tensor) -> None:
    """The scores agree, and the rows are those, but for rows whose scores float32 does not tell apart."""
    torch.testing.assert_close(found[0].double(), wanted[0], atol=2e-6, rtol=0)
    exact = (queries.double().unsqueeze(1) * bank.double()[found[1]]).sum(dim=2)
    torch.testing.assert_close(exact, wanted[0], atol=2e-6, rtol=0)
    assert all(len(set(row)) == len(row) for row in found[1].tolist())


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 1500),
    dim=st.sampled_from([3, 8, 32, 100]),
    batch=st.integers(1, 9),
    k=st.integers(1, 20),
    seed=st.integers(0, 2**31),
    around=st.sampled_from([0.0, 0.3, 3.0]),
    copies=st.booleans(),
)
def test_equals_the_naive_search(
    rows: int, dim: int, batch: int, k: int, seed: int, around: float, copies: bool
) -> None:
    bank = units(rows, dim, seed, around=around)
    if copies:
        bank[rows // 2 :] = bank[: rows - rows // 2].clone()
    bank = bank.half()
    queries = units(batch, dim, seed + 1, around=around)
    wanted = naive(queries, bank, k)
    for coarse in (None, bank.bfloat16()):
        found = nearest(queries, bank, k, coarse=coarse)
        assert found[0].shape == found[1].shape == (batch, min(k, rows))
        assert_same(found, wanted, queries, bank)


def test_equal_rows_come_in_order_of_index() -> None:
    bank = units(4096, 64, 0).half()
    bank[[4000, 17, 2048]] = bank[5].clone()
    for coarse in (None, bank.bfloat16()):
        _, indices = nearest(bank[5].float().unsqueeze(0), bank, 4, coarse=coarse)
        assert indices.tolist() == [[5, 17, 2048, 4000]]


def test_what_rounding_swaps_is_put_right() -> None:
    """Twenty thousand rows within the error of bfloat16: its own order is wrong, the result is not."""
    generator = torch.Generator().manual_seed(3)
    centre = units(1, 256, 1)
    bank = l2_normalize(centre + 2e-3 * torch.randn(20_000, 256, generator=generator)).half()
    queries = units(4, 256, 2, around=0.5) * 0.2 + centre
    queries = l2_normalize(queries)
    wanted = naive(queries, bank, 10)
    assert_same(nearest(queries, bank, 10, coarse=bank.bfloat16()), wanted, queries, bank)
    rounded = naive(queries.bfloat16(), bank.bfloat16(), 10)
    assert not torch.equal(rounded[1], wanted[1]), "the bank is meant to be too close for bfloat16"


def test_the_second_look_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, queries = units(30_000, 128, 0).half(), units(128, 128, 1)
    wanted = naive(queries, bank, 10)
    assert_same(nearest(queries, bank, 10, coarse=bank.bfloat16()), wanted, queries, bank)
    monkeypatch.setattr(kernel, "_error_bound", lambda queries, rounded, scores: torch.full((len(queries),), -1.0))
    careless = nearest(queries, bank, 10, coarse=bank.bfloat16())
    assert float((careless[0] - wanted[0]).abs().max()) > 1e-5


def test_only_a_sliver_of_a_bank_is_scored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, queries = units(30_000, 128, 0).half(), units(16, 128, 1)
    tiles = []
    rescore = kernel._rescore
    monkeypatch.setattr(
        kernel,
        "_rescore",
        lambda q, bank, owners, places: tiles.append(len(places)) or rescore(q, bank, owners, places),
    )
    assert_same(nearest(queries, bank, 10, coarse=bank.bfloat16()), naive(queries, bank, 10), queries, bank)
    assert 16 * 10 <= sum(tiles) * 8 < 0.02 * 16 * 30_000


def test_refuses_what_does_not_fit() -> None:
    bank = units(10, 8, 0).half()
    with pytest.raises(ValueError, match="k is 0"):
        nearest(units(1, 8, 0), bank, 0)
    with pytest.raises(ValueError, match="4 dimensions"):
        nearest(units(1, 4, 0), bank, 1)
    with pytest.raises(ValueError, match="coarse"):
        nearest(units(1, 8, 0), bank, 1, coarse=bank)
