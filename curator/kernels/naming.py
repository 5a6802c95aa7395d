"""Owns two ways from a bank of words to the labels of an image, as maths on tensors: votes, and winning over others.

Knows no encoder, no caption and no word.
"""

from __future__ import annotations

import torch
from torch import Tensor


def word_votes(own: Tensor, neighbours: Tensor, valid: Tensor, count: int) -> Tensor:
    """Share of voters that name each of ``count`` words, float32 [B, count], after FreeDom's retrieval augmentation.

    Voters are the image, with its nearest words ``own`` int64 [B, n], and its neighbours, of which each has as many:
    ``neighbours`` [B, K, n]; those that are not ``valid`` [B, K] do not vote. Efthymiadis et al., "Composed Image
    Retrieval for Training-Free Domain Conversion", WACV 2025: words that the neighbours share come to the top.
    """
    votes = torch.zeros(len(own), count, device=own.device).scatter_(1, own, 1.0)
    weights = valid[:, :, None].expand_as(neighbours).flatten(1).to(votes.dtype)
    votes.scatter_add_(1, neighbours.flatten(1), weights)
    return votes / (1 + valid.sum(dim=1, keepdim=True))


def against(proposed: Tensor, others: Tensor, *, scale: float, itself: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How proposals fare against the M distractors of their image: probability and share of distractors beaten, [P].

    ``proposed`` [P] are cosines of proposals with their images, ``others`` [P, M] those of the distractors with the
    same images. The probability is exp(s p) / (exp(s p) + sum_m exp(s o_m)). ``itself`` int64 [P] is the distractor
    that is the proposal itself, -1 where there is none: it does not compete.
    """
    rivals = others
    competing = torch.full((len(proposed),), others.shape[1], device=others.device)
    if itself is not None and len(itself):
        own = torch.zeros_like(others, dtype=torch.bool).scatter_(
            1, itself.clamp_min(0)[:, None], (itself >= 0)[:, None]
        )
        rivals = others.masked_fill(own, -torch.inf)
        competing = competing - own.sum(dim=1)
    logits = torch.cat([proposed[:, None], rivals], dim=1) * scale
    beaten = ((rivals < proposed[:, None]) & rivals.isfinite()).sum(dim=1)
    return logits.softmax(dim=1)[:, 0], beaten / competing.clamp_min(1)
