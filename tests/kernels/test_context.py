"""Context: the published PerceptionCLIP values, projections and ideal words against loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.context import ideal_words, marginals, orthonormal, perceive, robustify
from curator.kernels.vectors import l2_normalize
from tests.kernels.golden import VALUES, inputs


@pytest.mark.parametrize("temperature", [1, 3])
def test_perception_has_the_published_values(temperature: int) -> None:
    given = inputs()
    logits = 10 * torch.einsum("nd,czd->ncz", given.images, given.prompts)
    scores, _ = perceive(logits, temperature=temperature)
    assert scores[0].tolist() == pytest.approx(VALUES[f"perception_t{temperature}_0"], abs=1e-5)


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_perception_equals_the_loop(seed: int, images: int, labels: int, contexts: int, given_context: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    f = 3 * torch.randn(images, labels, contexts, generator=generator)
    context = torch.randn(images, contexts, generator=generator) if given_context else None
    scores, inferred = perceive(f, temperature=2.0, context=context)
    for row in range(images):
        raw = [
            float((context[row, z] / 2).exp()) if context is not None else float((f[row, :, z] / 2).exp().sum())
            for z in range(contexts)
        ]
        pz = [value / sum(raw) for value in raw]
        assert inferred[row].tolist() == pytest.approx(pz, abs=1e-5)
        for y in range(labels):
            total = sum(pz[z] * float(torch.softmax(f[row, :, z], 0)[y]) for z in range(contexts))
            assert float(scores[row, y]) == pytest.approx(total, abs=1e-5)


def test_logits_of_100_in_half_precision_do_not_overflow() -> None:
    scores, inferred = perceive(torch.tensor([[[100.0, 90.0], [80.0, 95.0]]]).half())
    assert torch.isfinite(scores).all()
    assert torch.allclose(scores.sum(1), torch.ones(1))
    assert float(inferred[0, 0]) > 0.9


def test_marginals_sum_the_other_factors_out() -> None:
    joint = torch.rand(3, 2 * 4 * 3, generator=torch.Generator().manual_seed(0))
    found = marginals(joint, (2, 4, 3))
    for row, a in itertools.product(range(3), range(4)):
        expected = sum(float(joint[row, (x * 4 + a) * 3 + y]) for x in range(2) for y in range(3))
        assert float(found[1][row, a]) == pytest.approx(expected, rel=1e-5)
    assert torch.equal(marginals(joint, (24,))[0], joint)


def test_directions_are_projected_out_and_doubled() -> None:
    generator = torch.Generator().manual_seed(0)
    spurious, useful = torch.randn(3, 8, generator=generator), torch.randn(2, 8, generator=generator)
    x = l2_normalize(torch.randn(5, 8, generator=generator))
    reject, boost = orthonormal(spurious), orthonormal(useful)
    assert torch.allclose(reject @ reject.T, torch.eye(3), atol=1e-6)
    assert torch.allclose(robustify(x, reject, boost[:0]) @ spurious.T, torch.zeros(5, 3), atol=1e-5)
    expected = x.clone()
    for direction in reject:
        expected = expected - (expected @ direction).unsqueeze(1) * direction
    kept = expected.clone()
    for direction in boost:
        expected = expected + (kept @ direction).unsqueeze(1) * direction
    assert torch.allclose(robustify(x, reject, boost), l2_normalize(expected), atol=1e-5)


def test_no_direction_changes_nothing_and_a_rejected_vector_is_zero() -> None:
    x = torch.eye(3)
    none = torch.zeros(0, 3)
    assert torch.equal(robustify(x, none, none), x)
    assert robustify(x, torch.eye(3)[:1], none)[0].tolist() == [0.0, 0.0, 0.0]
    repeated = orthonormal(torch.stack([x[0], 2 * x[0], x[0] + x[1], torch.zeros(3)]))
    assert repeated.shape == (2, 3)
    assert orthonormal(torch.zeros(2, 3)).shape == (0, 3)


@given(st.integers(0, 2**31), st.lists(st.integers(1, 3), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_ideal_words_equal_the_loop(seed: int, sizes: list[int]) -> None:
    combinations = list(itertools.product(*map(range, sizes)))
    vectors = torch.randn(len(combinations), 5, generator=torch.Generator().manual_seed(seed))
    origin, words = ideal_words(vectors, tuple(sizes))
    assert torch.allclose(origin, vectors.mean(0), atol=1e-6)
    for factor, size in enumerate(sizes):
        for value in range(size):
            having = [vectors[row] for row, chosen in enumerate(combinations) if chosen[factor] == value]
            assert torch.allclose(words[factor][value], torch.stack(having).mean(0) - origin, atol=1e-5)


def test_sums_of_words_are_found_again() -> None:
    generator = torch.Generator().manual_seed(1)
    objects, attributes = torch.randn(3, 5, generator=generator), torch.randn(2, 5, generator=generator)
    vectors = (objects.unsqueeze(1) + attributes).flatten(0, 1)
    origin, (first, second) = ideal_words(vectors, (3, 2))
    assert torch.allclose((origin + first.unsqueeze(1) + second).flatten(0, 1), vectors, atol=1e-5)
