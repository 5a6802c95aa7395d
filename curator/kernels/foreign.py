"""Owns scores of how well an image belongs to a vocabulary at all. Knows no label, no threshold and no column.

Higher means better known, as in the papers; cosines are float32 [B, C].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_QUANTILE_BLOCK = 1 << 22  # torch.quantile takes up to 2**24 numbers


def mcm(cosine: Tensor, temperature: float = 1.0) -> Tensor:
    """Maximum concept matching [B]: the largest of softmax(cos / T). Ming et al. 2022, equation 2 (T = 1, raw cosines).

    With raw cosines the softmax is nearly flat, so that values lie near 1 / C: compare them within one vocabulary only.
    """
    return torch.softmax(cosine.float() / temperature, dim=-1).amax(dim=-1)


def energy(cosine: Tensor, temperature: float = 1.0) -> Tensor:
    """Free energy with its sign turned [B]: T * log sum exp(cos / T). Liu et al. 2020, equation 4."""
    return temperature * torch.logsumexp(cosine.float() / temperature, dim=-1)


def certainty(cosine: Tensor, scale: float) -> Tensor:
    """1 - H(p) / log C [B] of p = softmax(scale * cos): 1 is certain, 0 is uniform. One label alone is certain."""
    count = cosine.shape[-1]
    if count == 1:
        return torch.ones(cosine.shape[:-1], device=cosine.device)
    logarithms = torch.log_softmax(cosine.float() * scale, dim=-1)
    entropy = -(logarithms.exp() * logarithms).sum(dim=-1)
    return 1.0 - entropy / math.log(count)


def mine_negatives(positives: Tensor, candidates: Tensor, *, percentile: float = 0.95, share: float = 0.15) -> Tensor:
    """Which ``candidates`` [W, D] are far from all ``positives`` [C, D]: int64 indices, the farthest first.

    A candidate's nearness is the ``percentile`` of its cosines to the positives (linear between two of them, so that a
    single synonym does not decide); the first int(share * W) are kept, at least one. NegLabel (Jiang et al. 2024),
    algorithm 1. Equal ones by index.
    """
    if not len(candidates):
        raise ValueError("there are no candidates to take negative labels from")
    rows = max(1, _QUANTILE_BLOCK // len(positives))
    blocks = (candidates[start : start + rows] for start in range(0, len(candidates), rows))
    nearness = torch.cat([torch.quantile((block @ positives.T).float(), percentile, dim=1) for block in blocks])
    kept = max(1, int(share * len(candidates)))
    return torch.sort(nearness, stable=True).indices[:kept]


def deal(count: int, groups: int, *, seed: int = 0) -> list[Tensor]:
    """``groups`` disjoint index lists of equal length over shuffled 0 … count-1; the remainder is left out."""
    if not 1 <= groups <= count:
        raise ValueError(f"{count} negative labels cannot be dealt to {groups} groups")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return list(order[: count - count % groups].view(groups, -1))


def neglabel(positive: Tensor, negative: Tensor, groups: Sequence[Tensor]) -> Tensor:
    """Mean over groups of the softmax mass on the labels [B], from logits [B, C] of labels and [B, N] of negatives.

    Each group of negatives stands in one softmax with all labels. NegLabel (Jiang et al. 2024), equations 5 and 6.
    """
    known = torch.logsumexp(positive.float(), dim=-1)
    mass = torch.zeros_like(known)
    for group in groups:
        mass += torch.sigmoid(known - torch.logsumexp(negative[:, group].float(), dim=-1))
    return mass / len(groups)
