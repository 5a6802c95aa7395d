"""Augmentation: shapes, ranges, the same views for the same seed, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from curator.training.augment import augment, background, plain
from tests.training.builders import paint


def views(seed: int, mirror: bool = True, count: int = 16) -> Tensor:
    thumbnails = torch.from_numpy(np.stack([paint("red-bar", 0)] * count))
    generator = torch.Generator().manual_seed(seed)
    return augment(thumbnails, 64, torch.full((count,), mirror), generator)


def test_views_have_the_encoders_shape_and_range() -> None:
    drawn = views(0)
    assert drawn.shape == (16, 3, 64, 64)
    assert drawn.dtype == torch.float32
    assert drawn.min() >= -1
    assert drawn.max() <= 1


def test_the_same_seed_gives_the_same_views_and_another_does_not() -> None:
    assert torch.equal(views(3), views(3))
    assert not torch.equal(views(3), views(4))


def test_a_picture_without_mirror_image_never_gets_one() -> None:
    sided = torch.zeros((64, 80, 80, 4), dtype=torch.uint8)
    sided[:, 20:60, 8:28] = torch.tensor([255, 255, 255, 255], dtype=torch.uint8)
    sided[:, 20:60, 28:72] = torch.tensor([0, 0, 0, 255], dtype=torch.uint8)
    drawn = augment(sided, 64, torch.zeros(64, dtype=torch.bool), torch.Generator().manual_seed(0))
    left, right = drawn[:, :, 22:42, 14:24].mean((1, 2, 3)), drawn[:, :, 22:42, 40:50].mean((1, 2, 3))
    assert (left > right).float().mean() == 1.0
    turned = augment(sided, 64, torch.ones(64, dtype=torch.bool), torch.Generator().manual_seed(0))
    left, right = turned[:, :, 22:42, 14:24].mean((1, 2, 3)), turned[:, :, 22:42, 40:50].mean((1, 2, 3))
    assert 0.2 < (left > right).float().mean() < 0.8


def test_half_of_the_backgrounds_are_white() -> None:
    drawn = background(2000, 4, torch.Generator().manual_seed(0))
    white = (drawn == 1).flatten(1).all(dim=1)
    assert white.float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_plain_views_lie_on_white() -> None:
    drawn = plain(torch.from_numpy(paint("blue-bar", 0))[None], 64)
    assert drawn.shape == (1, 3, 64, 64)
    assert torch.allclose(drawn[0, :, 0, 0], torch.ones(3), atol=1e-3)
