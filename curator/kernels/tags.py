"""Owns the choice of several labels for one image, and the bias of labels that are near everything. Tensors only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def select_tags(
    scores: Tensor, thresholds: Tensor, k: int, *, relative: float = 0.0, exclusive: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor, Tensor]:
    """The labels that each row keeps: scores and int64 indices, both [B, min(k, C)], best first, and counts int64 [B].

    ``scores`` [B, C] keep those that reach their label's threshold [C]; of every set of ``exclusive`` label indices the
    best alone; then those that reach ``relative`` times the row's best; then the first ``k``. Equal scores by index.
    What follows a row's count is padding with the score 0.
    """
    open_ = scores >= thresholds
    for group in exclusive:
        inside = torch.where(open_[:, group], scores[:, group], -torch.inf)
        best = torch.sort(inside, dim=1, descending=True, stable=True).indices[:, :1]
        alone = torch.zeros_like(inside, dtype=torch.bool).scatter_(1, best, True)
        open_[:, group] &= alone
    kept = torch.where(open_, scores, -torch.inf)
    if relative > 0:
        kept = torch.where(kept >= relative * kept.amax(dim=1, keepdim=True), kept, -torch.inf)
    ranked = torch.sort(kept, dim=1, descending=True, stable=True)
    values, indices = ranked.values[:, :k], ranked.indices[:, :k]
    present = values > -torch.inf
    return torch.where(present, values, 0.0), indices, present.sum(dim=1)


def hub_bias(gallery: Tensor, queries: Tensor, k: int = 256) -> Tensor:
    """Mean of the ``k`` largest similarities of each gallery vector [G, D] to reference queries [R, D]: float32 [G].

    NNN (Chowdhury et al. 2024): subtract ``weight`` (0.5) times it from the similarities to lower hubs. With fewer than
    ``k`` queries it is the mean over all.
    """
    if not len(queries):
        raise ValueError("there are no reference queries to see hubs by")
    k = min(k, len(queries))
    blocks = (gallery[start : start + 1024] for start in range(0, len(gallery), 1024))
    return torch.cat([(block @ queries.T).float().topk(k, dim=1).values.mean(dim=1) for block in blocks])
