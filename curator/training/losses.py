"""Own the contrastive losses with several positives: functions of tensors that refuse to know pictures and words."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_targets(matches: Tensor) -> Tensor:
    """Row-wise target distribution over columns, from matches bool [N, M].

    A column that many rows match says little about any one of them, so each match weighs one over its column's count.
    Rows without any match are all zero.
    """
    weights = matches.float() / matches.float().sum(dim=0, keepdim=True).clamp_min(1.0)
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)


def image_text_loss(images: Tensor, texts: Tensor, matches: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross entropy of CLIP (Radford et al. 2021, figure 3) with soft targets for several positives.

    images [N, D] and texts [M, D] of unit norm, matches bool [N, M] (picture n is rightly described by text m), scale
    the positive factor on the cosines. Rows and columns without a match do not count.
    """
    logits = scale * images @ texts.T
    forward = _cross_entropy(logits, soft_targets(matches))
    backward = _cross_entropy(logits.T, soft_targets(matches.T))
    return (forward + backward) / 2


def same_entity_loss(images: Tensor, entities: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss among pictures (Khosla et al. 2020, equation 2): pictures of one entity attract.

    images [N, D] of unit norm, entities int [N]. Pictures that are alone of their entity do not count.
    """
    itself = torch.eye(len(images), dtype=torch.bool, device=images.device)
    logits = (images @ images.T / temperature).masked_fill(itself, float("-inf"))
    matches = (entities[:, None] == entities[None, :]) & ~itself
    targets = matches.float() / matches.float().sum(dim=1, keepdim=True).clamp_min(1.0)
    return _cross_entropy(logits, targets)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    log_probability = functional.log_softmax(logits, dim=1)
    per_row = -(targets * log_probability.masked_fill(targets == 0, 0.0)).sum(dim=1)
    counted = targets.sum(dim=1) > 0
    return per_row[counted].sum() / counted.sum().clamp_min(1)
