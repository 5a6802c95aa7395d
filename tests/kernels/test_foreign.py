"""Scores of foreign images against naive loops and the golden values of the papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.foreign import certainty, deal, energy, mcm, mine_negatives, neglabel
from curator.kernels.tags import hub_bias


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def example() -> dict[str, torch.Tensor]:
    """The golden example, from seed 0 in 16 dimensions: 12 images, 5 classes of 4 prompts, 20 queries, 20 negatives."""
    rng = np.random.default_rng(0)
    images = unit(rng.standard_normal((12, 16)))
    texts = unit(rng.standard_normal((5, 4, 16)))
    rng.standard_normal((213, 16))  # what the example's other methods draw
    queries = unit(rng.standard_normal((20, 16)))
    rng.standard_normal((3, 16))
    drawn = {"images": images, "classes": unit(texts.mean(1)), "queries": queries}
    drawn["negatives"] = unit(rng.standard_normal((20, 16)))
    return {name: torch.tensor(rows) for name, rows in drawn.items()}


def test_golden_values() -> None:
    drawn = example()
    images = drawn["images"]
    cosine = images @ drawn["classes"].T
    concept = [0.25055053631227403, 0.2318347178350475, 0.2591631527145445, 0.2322735056292154]
    free = [1.651784179525762, 1.7575142528585068, 1.563300616093328, 1.7365516438440989]
    mass = [0.5064924812156275, 0.5007528345433234, 0.4947678201811564, 0.47829935293866904]
    assert mcm(cosine)[:4].tolist() == pytest.approx(concept, abs=1e-6)
    assert energy(cosine)[:4].tolist() == pytest.approx(free, abs=1e-6)
    groups = list(torch.arange(20).view(4, 5))
    found = neglabel(5 * cosine, 5 * images @ drawn["negatives"].T, groups)
    assert found[:4].tolist() == pytest.approx(mass, abs=1e-6)
    hubs = [0.34396430086457463, 0.3581446806757421, 0.3112479010186724, 0.2748338703895937, 0.2348165894994933]
    assert hub_bias(images, drawn["queries"], 5)[:5].tolist() == pytest.approx(hubs, abs=1e-6)


matrices = st.integers(1, 6).flatmap(
    lambda columns: st.lists(
        st.lists(st.floats(-1, 1, width=32), min_size=columns, max_size=columns), min_size=1, max_size=5
    )
)


@settings(max_examples=60, deadline=None)
@given(matrices, st.floats(0.05, 5), st.floats(1, 100))
def test_against_loops(rows: list[list[float]], temperature: float, scale: float) -> None:
    cosine = torch.tensor(rows)
    for row, concept, free, certain in zip(
        rows, mcm(cosine, temperature), energy(cosine, temperature), certainty(cosine, scale), strict=True
    ):
        powers = [math.exp(value / temperature) for value in row]
        assert float(concept) == pytest.approx(max(powers) / sum(powers), rel=1e-4)
        assert float(free) == pytest.approx(temperature * math.log(sum(powers)), rel=1e-3, abs=1e-5)
        top = max(row)
        weights = [math.exp(scale * (value - top)) for value in row]
        p = [weight / sum(weights) for weight in weights]
        entropy = -sum(value * math.log(value) for value in p if value)
        assert float(certain) == pytest.approx(1 - entropy / math.log(len(row)) if len(row) > 1 else 1.0, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_mining_against_a_loop(labels: int, words: int, seed: int, percentile: float, share: float) -> None:
    rng = np.random.default_rng(seed)
    positives, candidates = (torch.tensor(unit(rng.standard_normal((n, 4)))) for n in (labels, words))
    nearness = [float(np.quantile((positives @ word).float().numpy(), percentile)) for word in candidates]
    chosen = mine_negatives(positives, candidates, percentile=percentile, share=share).tolist()
    assert len(chosen) == max(1, int(share * words)) == len(set(chosen))
    assert [nearness[word] for word in chosen] == pytest.approx(sorted(nearness)[: len(chosen)], abs=1e-6)


def test_dealing_leaves_out_the_remainder_and_is_the_same_every_time() -> None:
    groups = deal(23, 4)
    assert [len(group) for group in groups] == [5, 5, 5, 5]
    assert len(set(torch.cat(groups).tolist())) == 20
    assert all(torch.equal(one, other) for one, other in zip(groups, deal(23, 4), strict=True))
    with pytest.raises(ValueError, match="cannot be dealt"):
        deal(3, 4)
    with pytest.raises(ValueError, match="no candidates"):
        mine_negatives(torch.ones(2, 3), torch.ones(0, 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(2, 9), st.integers(1, 2), st.integers(0, 10_000))
def test_neglabel_against_a_loop(labels: int, negatives: int, dealt: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = (torch.tensor(rng.normal(0, 5, (3, n))).float() for n in (labels, negatives))
    groups = deal(negatives, dealt, seed=seed)
    expected = []
    for row in range(3):
        shares = []
        for group in groups:
            known = sum(math.exp(value) for value in positive[row].tolist())
            other = sum(math.exp(value) for value in negative[row, group].tolist())
            shares.append(known / (known + other))
        expected.append(sum(shares) / len(shares))
    assert neglabel(positive, negative, groups).tolist() == pytest.approx(expected, rel=1e-4)
