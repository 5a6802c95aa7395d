"""Owns the noise that makes embeddings of texts stand where embeddings of images do. Knows no model and no text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from curator.kernels.vectors import l2_normalize


@dataclass(frozen=True)
class AngleNoise:
    """Noise "GaussElemUniformAngle" of NOVIC (Allgeuer et al. 2025): nearly all vectors get Gaussian noise, some turn.

    A vector turns with probability ``turned``, by an angle between ``degrees`` in a random orthogonal direction; any
    other becomes l2(e + N(0, (deviation / sqrt(F))^2)), so that ``deviation`` is the length of the noise beside that of
    the unit vector, and 1 / sqrt(1 + deviation^2) the mean cosine that is left.
    """

    deviation: float = 3.25
    turned: float = 0.15
    degrees: tuple[float, float] = (45.0, 75.0)

    def __call__(self, vectors: Tensor, generator: torch.Generator) -> Tensor:
        """Unit vectors float32 [B, F] of unit ``vectors`` [B, F]; what is drawn depends on ``generator`` alone."""
        count, dim = vectors.shape
        draws = torch.randn(count, dim, generator=generator)
        moved = l2_normalize(vectors + draws * (self.deviation / math.sqrt(dim)))
        low, high = self.degrees
        angles = torch.deg2rad(low + (high - low) * torch.rand(count, 1, generator=generator))
        across = l2_normalize(draws - (draws * vectors).sum(dim=1, keepdim=True) * vectors)
        turned = vectors * angles.cos() + across * angles.sin()
        chosen = torch.rand(count, 1, generator=generator) < self.turned
        return torch.where(chosen, turned, moved)
