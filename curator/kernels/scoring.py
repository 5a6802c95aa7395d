"""Owns how inner products become probabilities and decisions. Knows no label, no encoder and no column."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from curator.kernels.ranking import rank

Family: TypeAlias = Literal["softmax", "sigmoid"]


def probabilities(cosine: Tensor, *, scale: float, bias: float | None = None, family: Family) -> Tensor:
    """Probabilities float32 [B, C] of cosines [B, C].

    softmax: exp(scale * cos_c) / sum_c' exp(scale * cos_c'), one label of the vocabulary is right (CLIP, Radford et al.
    2021, figure 3; ``bias`` cancels out). sigmoid: 1 / (1 + exp(-(scale * cos + bias))), each label by itself (SigLIP,
    Zhai et al. 2023, equation 1). ``scale`` is the factor exp(logit_scale), not its logarithm.
    """
    logits = cosine.float() * scale
    if family == "softmax":
        return torch.softmax(logits, dim=-1)
    return torch.sigmoid(logits + _needed(bias))


def top_probabilities(
    queries: Tensor,
    bank: Tensor,
    k: int,
    *,
    scale: float,
    bias: float | None = None,
    family: Family,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``probabilities`` of the k best bank rows alone: float32 and int64 indices, both [B, min(k, C)], best first.

    The softmax still runs over the whole bank, by a log-sum-exp carried from block to block, so that memory stays at
    ``chunk`` x B products whatever the size of the vocabulary. Equal scores by index. ``scale`` must be positive.
    """
    if scale <= 0:
        raise ValueError(f"scale is {scale}; it must be positive")
    if family == "sigmoid":
        best = rank(queries, bank, k, chunk=chunk)
        return torch.sigmoid(best.scores * scale + _needed(bias)), best.indices
    best = rank(queries, bank, k, scale=scale, chunk=chunk)
    assert best.log_sum_exp is not None
    return torch.exp(best.scores * scale - best.log_sum_exp.unsqueeze(1)).clamp_(max=1.0), best.indices


def decide(ranked: Tensor, *, k: int, min_score: float = 0.0, min_margin: float = 0.0) -> tuple[Tensor, Tensor]:
    """How many labels each row keeps (int64 [B]) and whether it abstains (bool [B]).

    ``ranked`` [B, K] holds the best scores, best first; K > k is needed for nothing but the margin at k = 1. A row
    keeps those of its first k that reach ``min_score``. It abstains when it keeps none, or when the best leads the
    runner-up (0 where there is none) by less than ``min_margin``; what it kept stays, for whoever wants to see it.
    """
    counts = (ranked[:, :k] >= min_score).sum(dim=1)
    runner_up = ranked[:, 1] if ranked.shape[1] > 1 else torch.zeros_like(ranked[:, 0])
    return counts, (counts == 0) | (ranked[:, 0] - runner_up < min_margin)


def _needed(bias: float | None) -> float:
    if bias is None:
        raise ValueError("the sigmoid needs a bias: SigLIP's formula is sigmoid(scale * cos + bias)")
    return bias
