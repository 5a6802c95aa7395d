"""The contrastive losses against loops that follow the definitions word for word."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from curator.training.losses import image_text_loss, same_entity_loss, soft_targets


def unit(count: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=-1)


def naive_direction(logits: list[list[float]], matches: list[list[bool]]) -> float:
    columns = [sum(row[j] for row in matches) for j in range(len(matches[0]))]
    losses = []
    for row, match in zip(logits, matches, strict=True):
        weights = [1 / columns[j] if match[j] else 0.0 for j in range(len(row))]
        if sum(weights) == 0:
            continue
        normaliser = math.log(sum(math.exp(value) for value in row))
        losses.append(-sum(w / sum(weights) * (value - normaliser) for w, value in zip(weights, row, strict=True)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(4))
def test_image_text_loss_equals_a_loop(seed: int) -> None:
    images, texts = unit(5, seed), unit(7, seed + 100)
    matches = torch.rand(5, 7, generator=torch.Generator().manual_seed(seed)) < 0.3
    matches[0, 0] = True
    matches[1] = False
    logits = 9.0 * images @ texts.T
    expected = (
        naive_direction(logits.tolist(), matches.tolist()) + naive_direction(logits.T.tolist(), matches.T.tolist())
    ) / 2
    assert image_text_loss(images, texts, matches, torch.tensor(9.0)).item() == pytest.approx(expected, rel=1e-5)


def test_with_one_positive_each_it_is_the_loss_of_clip() -> None:
    images, texts = unit(6, 0), unit(6, 1)
    logits = 12.0 * images @ texts.T
    truth = torch.arange(6)
    expected = (functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.T, truth)) / 2
    ours = image_text_loss(images, texts, torch.eye(6, dtype=torch.bool), torch.tensor(12.0))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_text_that_fits_many_pictures_weighs_less() -> None:
    matches = torch.tensor([[True, True], [False, True], [False, True]])
    assert soft_targets(matches)[0].tolist() == pytest.approx([0.75, 0.25])


def test_same_entity_loss_equals_a_loop() -> None:
    images, entities = unit(6, 2), torch.tensor([0, 0, 1, 1, 1, 2])
    losses = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        positives = [j for j in others if entities[j] == entities[i]]
        if not positives:
            continue
        cosines = {j: float(images[i] @ images[j]) / 0.1 for j in others}
        normaliser = math.log(sum(math.exp(value) for value in cosines.values()))
        losses.append(-sum(cosines[j] - normaliser for j in positives) / len(positives))
    assert same_entity_loss(images, entities).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_gradients_are_finite_where_nothing_matches() -> None:
    images = unit(4, 0).requires_grad_()
    loss = image_text_loss(images, unit(4, 1), torch.zeros(4, 4, dtype=torch.bool), torch.tensor(5.0))
    loss.backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
