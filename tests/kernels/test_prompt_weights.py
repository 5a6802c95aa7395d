"""ZPE and AutoCLIP: the published values, naive loops on random tensors, and what must not change the result."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curator.kernels.prompt_weights import autoclip, entropy_weights, weighted_classes, zpe_scores, zpe_select
from curator.kernels.vectors import l2_normalize
from tests.kernels.golden import VALUES, inputs


def unit(generator: torch.Generator, *shape: int) -> Tensor:
    return l2_normalize(torch.randn(*shape, generator=generator))


def entropy_bits(weights: Tensor) -> Tensor:
    return -(weights * weights.clamp_min(1e-30).log2()).sum(-1)


def test_zpe_has_the_published_values() -> None:
    given = inputs()
    templates = given.prompts.transpose(0, 1)
    scores = zpe_scores(given.images, templates, scale=10.0, reference=given.reference, rows=5)
    assert scores.tolist() == pytest.approx(VALUES["zpe_w"], abs=1e-5)
    weights = torch.softmax(scores, 0)
    assert weights.tolist() == pytest.approx(VALUES["zpe_softmax"], abs=1e-6)
    best = (given.images @ weighted_classes(templates, weights).T).argmax(1)
    assert best.tolist() == VALUES["zpe_argmax"]


def test_autoclip_has_the_published_values() -> None:
    given = inputs()
    scores, weights = autoclip((given.prompts @ given.images[0])[None])
    assert weights[0].tolist() == pytest.approx(VALUES["autoclip_w0"], abs=1e-5)
    assert scores[0].tolist() == pytest.approx(VALUES["autoclip_logits0"], abs=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 5), st.integers(1, 6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_zpe_equals_the_loop(seed: int, images: int, labels: int, templates: int, generic: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, t = unit(generator, images, 6), unit(generator, templates, labels, 6)
    reference = unit(generator, 3, 6) if generic else None
    expected = []
    for prompts in t:
        total = 0.0
        for image in x:
            best = -math.inf
            for vector in prompts:
                bias = sum(float(other @ vector) for other in x) / images
                if reference is not None:
                    bias = (bias + sum(float(other @ vector) for other in reference) / 3) / 2
                best = max(best, 20.0 * (float(image @ vector) - bias))
            total += best
        expected.append(total / images)
    assert torch.allclose(zpe_scores(x, t, scale=20.0, reference=reference), torch.tensor(expected), atol=1e-4)


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 6), st.integers(2, 9), st.floats(0.3, 0.99))
@settings(max_examples=40, deadline=None)
def test_autoclip_equals_the_loop(seed: int, images: int, labels: int, templates: int, beta: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    cosines = torch.rand(images, labels, templates, generator=generator, dtype=torch.float64)
    scores, weights = autoclip(cosines.float(), beta=beta)
    for row, s in enumerate(cosines):
        rho = torch.zeros(templates, dtype=torch.float64, requires_grad=True)
        torch.logsumexp(s @ torch.softmax(rho, 0), 0).backward()
        assert rho.grad is not None
        low, high = 0.0, 1e12
        for _ in range(300):
            step = (low + high) / 2
            above = entropy_bits(torch.softmax(step * rho.grad, 0)) > beta * math.log2(templates)
            low, high = (step, high) if above else (low, step)
        expected = torch.softmax(low * rho.grad, 0)
        assert torch.allclose(weights[row].double(), expected, atol=2e-3)
        assert torch.allclose(scores[row].double(), s @ weights[row].double(), atol=1e-5)


def test_every_row_has_the_entropy_that_was_asked_for() -> None:
    cosines = 0.2 + 0.01 * torch.randn(50, 20, 8, generator=torch.Generator().manual_seed(0))
    for beta in (0.5, 0.85):
        assert torch.allclose(entropy_bits(autoclip(cosines, beta=beta)[1]), torch.tensor(beta * 3), atol=1e-3)
    assert torch.allclose(autoclip(cosines, beta=1.0)[1], torch.tensor(1 / 8))


def test_labels_and_templates_may_stand_in_any_order() -> None:
    generator = torch.Generator().manual_seed(1)
    cosines = torch.rand(4, 6, 5, generator=generator)
    labels, templates = torch.randperm(6, generator=generator), torch.randperm(5, generator=generator)
    scores, weights = autoclip(cosines)
    moved, moved_weights = autoclip(cosines[:, labels][:, :, templates])
    assert torch.allclose(moved, scores[:, labels], atol=1e-5)
    assert torch.allclose(moved_weights, weights[:, templates], atol=1e-4)


def test_equal_templates_share_their_weight() -> None:
    cosines = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(2)).repeat_interleave(3, dim=2)
    weights = autoclip(cosines)[1].view(3, 2, 3)
    assert torch.allclose(weights, weights[:, :, :1].expand_as(weights), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 1, 4), (2, 3, 1), (0, 3, 4)])
def test_autoclip_of_one_label_one_template_or_no_image(shape: tuple[int, int, int]) -> None:
    scores, weights = autoclip(torch.rand(shape))
    assert scores.shape == shape[:2]
    assert torch.allclose(weights.sum(1), torch.ones(shape[0]))


def test_weights_without_a_direction_stay_uniform() -> None:
    assert torch.allclose(entropy_weights(torch.zeros(2, 4), 0.5), torch.tensor(0.25))
    assert torch.allclose(autoclip(torch.full((1, 3, 4), 0.2))[1], torch.tensor(0.25))


def test_half_precision_cosines_give_nearly_the_same_weights() -> None:
    cosines = torch.rand(5, 6, 7, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(autoclip(cosines.half())[1], autoclip(cosines)[1], atol=0.02)


def test_selection_is_by_unscaled_mad() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])
    assert zpe_select(scores, 0.5).tolist() == [False, False, False, True, True]
    assert zpe_select(scores, 2.0).tolist() == [False, False, False, False, True]
    assert zpe_select(torch.ones(3), 2.0).all()
    assert zpe_select(torch.tensor([1.0, 1.0, 1.0, 5.0]), 0.5).tolist() == [False, False, False, True]


def test_without_images_or_templates_there_are_no_weights() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        zpe_scores(torch.empty(0, 4), [torch.rand(2, 4)], scale=1.0)
    with pytest.raises(ValueError, match="at least one image"):
        zpe_scores(torch.rand(1, 4), [torch.rand(2, 4)], scale=1.0, reference=torch.empty(0, 4))
    with pytest.raises(ValueError, match="at least one template"):
        zpe_scores(torch.rand(1, 4), [], scale=1.0)
