"""Owns what is done about context: inferring it, conditioning on it, projecting it out, taking it apart into factors.

Knows logits and embeddings, not texts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from curator.kernels.vectors import l2_normalize

_DEPENDENT = 1e-4


def perceive(logits: Tensor, *, temperature: float = 1.0, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """P(y | x) [B, C] and P(z | x) [B, Z], float32, of ``logits`` [B, C, Z] of classes y in contexts z.

    P(y|x) = sum_z P(z|x) P(y|x,z) with P(y|x,z) a softmax over classes, and P(z|x) proportional to sum_y exp(f_yz / t),
    or to exp(f_z / t) of ``context`` logits [B, Z] from texts without a class. In log-sum-exp form: the exponentials
    of raw logits overflow in float16. Source: PerceptionCLIP (An et al. 2023), two-step inference.
    """
    logits = logits.float()
    scores = torch.logsumexp(logits / temperature, dim=1) if context is None else context.float() / temperature
    inferred = torch.softmax(scores, dim=1)
    return torch.bmm(torch.softmax(logits, dim=1), inferred.unsqueeze(2)).squeeze(2), inferred


def marginals(inferred: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """P(z_f | x) [B, sizes[f]] of every factor from P(z | x) [B, prod(sizes)], the last factor's values fastest."""
    joint = inferred.view(len(inferred), *sizes)
    axes = range(1, len(sizes) + 1)
    return [joint.sum(dim=[axis for axis in axes if axis != kept]) if len(sizes) > 1 else joint for kept in axes]


def orthonormal(directions: Tensor) -> Tensor:
    """An orthonormal basis [r, D] of the span of ``directions`` [n, D]; rows that depend on earlier ones add nothing.

    Gram-Schmidt as a QR decomposition row by row, so that the order in which pairs are listed counts only for its basis
    and never for its span.
    """
    basis: list[Tensor] = []
    for row in l2_normalize(directions).double():
        rest = row
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            for unit in basis:
                rest = rest - (rest @ unit) * unit
        if float(rest.norm()) > _DEPENDENT:
            basis.append(rest / rest.norm())
    return torch.stack(basis).float() if basis else directions.new_zeros(0, directions.shape[1])


def robustify(vectors: Tensor, reject: Tensor, boost: Tensor) -> Tensor:
    """``vectors`` [B, D] without their part in the span of ``reject`` and with that in ``boost`` doubled; unit norm.

    ``reject`` [r, D] and ``boost`` [s, D] are orthonormal rows: x' = x - R^T R x, x'' = x' + S^T S x'. Source: RoboShot
    (Adila et al. 2024, "Zero-Shot Robustification of Zero-Shot Models", algorithm 1). A vector that lies in the
    rejected span as a whole becomes zero: nothing is left to decide by.
    """
    x = vectors.float()
    x = x - (x @ reject.T) @ reject
    x = x + (x @ boost.T) @ boost
    return torch.where(x.norm(dim=1, keepdim=True) > _DEPENDENT, l2_normalize(x), 0.0)


def ideal_words(vectors: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    """u_0 [D] and the ideal words [n_f, D] of every factor, of ``vectors`` [prod(sizes), D] of all combinations.

    u_0 is the mean of all, and the ideal word of a value is the mean over the combinations that have it, minus u_0; so
    that u_0 plus one word a factor is the best approximation by sums. Source: Trager et al. 2023, "Linear Spaces of
    Meanings", uniform weights.
    """
    grid = vectors.float().view(*sizes, -1)
    origin = grid.flatten(0, -2).mean(dim=0)
    words = []
    for factor in range(len(sizes)):
        others = [axis for axis in range(len(sizes)) if axis != factor]
        words.append((grid.mean(dim=others) if others else grid) - origin)
    return origin, words
