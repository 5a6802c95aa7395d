"""Own the batched augmentation of thumbnails: RGBA squares in, normalised RGB views out. It refuses to know words."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

MEAN = STD = 0.5
"""Every channel is mapped from 0..1 to -1..1; the encoder's own preprocess says the same."""


def augment(thumbnails: Tensor, side: int, mirror: Tensor, generator: torch.Generator) -> Tensor:
    """Random views, float32 [N, 3, side, side] in -1..1, of thumbnails uint8 [N, S, S, 4].

    Affine map and gentle wave, mirror image where mirror bool [N] allows it, a random background behind transparency,
    colour jitter, now and then grey, blur or noise. The same generator state gives the same views.
    """
    count = len(thumbnails)
    pixels = thumbnails.permute(0, 3, 1, 2).float() / 255
    alpha = pixels[:, 3:]
    layered = torch.cat([pixels[:, :3] * alpha, alpha], dim=1)
    grid = _grid(count, side, mirror, generator)
    moved = functional.grid_sample(layered, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    ink = _colour(moved[:, :3], moved[:, 3:], generator)
    view = ink + (1 - moved[:, 3:]) * background(count, side, generator)
    return (_soften(view, generator).clamp(0, 1) - MEAN) / STD


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < probability


def _grid(count: int, side: int, mirror: Tensor, generator: torch.Generator) -> Tensor:
    """Sampling grid [N, side, side, 2]: turn, zoom, stretch, shear, shift, mirror, and for some a wave as of cloth."""
    large_turn = _chance(count, 0.1, generator)
    angle = torch.where(large_turn, _uniform(count, -0.6, 0.6, generator), _uniform(count, -0.22, 0.22, generator))
    zoom = torch.exp(_uniform(count, math.log(0.85), math.log(1.45), generator))
    stretch = torch.exp(_uniform(count, -0.22, 0.22, generator))
    shear = _uniform(count, -0.18, 0.18, generator)
    flip = torch.where(mirror & _chance(count, 0.5, generator), -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    slack = (zoom - 0.85).clamp_min(0.1) * 0.45
    shift_x = _uniform(count, -1.0, 1.0, generator) * slack
    shift_y = _uniform(count, -1.0, 1.0, generator) * slack
    across = torch.stack([flip * zoom * stretch * cos, zoom * (shear * cos - sin), shift_x], dim=1)
    down = torch.stack([flip * zoom * stretch * sin, zoom / stretch * (shear * sin + cos), shift_y], dim=1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), [count, 4, side, side], align_corners=False)
    wave = torch.where(_chance(count, 0.3, generator), _uniform(count, 0.0, 0.09, generator), torch.zeros(count))
    period = _uniform(count, 2.0, 5.0, generator)
    phase = _uniform(count, 0.0, 2 * math.pi, generator)
    lift = wave[:, None, None] * torch.sin(period[:, None, None] * grid[..., 0] + phase[:, None, None])
    return torch.stack([grid[..., 0], grid[..., 1] + lift], dim=-1)


def background(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Backgrounds [N, 3, side, side] in 0..1: white for half, else one colour, grey, or a slope between two colours."""
    first = torch.rand((count, 3, 1, 1), generator=generator)
    second = torch.rand((count, 3, 1, 1), generator=generator)
    grey = _chance(count, 0.4, generator)[:, None, None, None]
    first = torch.where(grey, first[:, :1].expand(-1, 3, -1, -1), first)
    second = torch.where(_chance(count, 0.7, generator)[:, None, None, None], first, second)
    ramp = torch.linspace(0, 1, side)
    slope = torch.where(
        _chance(count, 0.5, generator)[:, None, None, None], ramp[None, None, :, None], ramp[None, None, None]
    )
    mixed = first + (second - first) * slope
    return torch.where(_chance(count, 0.5, generator)[:, None, None, None], torch.ones(()), mixed)


def _colour(ink: Tensor, alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation, tint on premultiplied ink [N, 3, H, W]; one in twelve turned grey."""
    count = len(ink)

    def factor(spread: float) -> Tensor:
        return torch.exp(_uniform(count, -spread, spread, generator))[:, None, None, None]

    tint = torch.exp(torch.rand((count, 3, 1, 1), generator=generator) * 0.3 - 0.15)
    ink = ink * factor(0.25) * tint
    luma = (ink * ink.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(dim=1, keepdim=True)
    saturation = factor(0.45)
    saturation = torch.where(_chance(count, 1 / 12, generator)[:, None, None, None], torch.zeros(()), saturation)
    ink = luma + (ink - luma) * saturation
    ink = (ink - 0.5 * alpha) * factor(0.25) + 0.5 * alpha
    return torch.minimum(ink.clamp_min(0), alpha)


def _soften(view: Tensor, generator: torch.Generator) -> Tensor:
    """A 3x3 blur of random strength for a third of the views, noise for a tenth."""
    count = len(view)
    strength = torch.where(_chance(count, 0.33, generator), _uniform(count, 0.0, 1.0, generator), torch.zeros(count))
    blurred = functional.avg_pool2d(functional.pad(view, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    view = view + (blurred - view) * strength[:, None, None, None]
    noisy = torch.where(_chance(count, 0.1, generator), 0.04, 0.0)[:, None, None, None]
    return view + torch.randn(view.shape, generator=generator) * noisy


def plain(thumbnails: Tensor, side: int) -> Tensor:
    """Views without chance, on white: float32 [N, 3, side, side] in -1..1."""
    pixels = thumbnails.permute(0, 3, 1, 2).float() / 255
    alpha = pixels[:, 3:]
    white = pixels[:, :3] * alpha + (1 - alpha)
    scaled = functional.interpolate(white, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return (scaled.clamp(0, 1) - MEAN) / STD
