"""Owns what a tree of labels does to scores and class embeddings. Knows positions and distances, not names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from curator.kernels.vectors import l2_normalize

ChilsMode: TypeAlias = Literal["normal", "hat", "supagg", "plain"]


def chils(children: Tensor, parents: Tensor, parent_of: Tensor, mode: ChilsMode = "normal") -> Tensor:
    """Scores of sub-classes [B, S], or for ``supagg`` of classes [B, C], float32.

    ``children`` [B, S] and ``parents`` [B, C] are logits, ``parent_of`` int64 [S] says whose each sub-class is. With r,
    q their softmaxes: normal r_s * q_parent(s); hat r_s * sum of r over the siblings; supagg q_c * sum of r within c;
    plain r_s. Source: CHiLS (Novack et al. 2023, section 3; hat, supagg and plain are variants of the authors' code).
    """
    r = torch.softmax(children.float(), dim=1)
    if mode == "plain":
        return r
    q = torch.softmax(parents.float(), dim=1)
    if mode == "normal":
        return r * q[:, parent_of]
    sums = torch.zeros_like(q).index_add_(1, parent_of, r)
    return r * sums[:, parent_of] if mode == "hat" else q * sums


def class_maxima(scores: Tensor, parent_of: Tensor, count: int) -> Tensor:
    """The best sub-class score of each class, [B, count], 0 for a class without any."""
    start = torch.zeros(len(scores), count, dtype=scores.dtype, device=scores.device)
    return start.scatter_reduce(1, parent_of.expand(len(scores), -1), scores, "amax", include_self=False)


def ancestor_sums(probabilities: Tensor, ancestors: Tensor, nodes: int) -> Tensor:
    """The probability under every node, float32 [B, nodes]: of ``probabilities`` [B, C] of labels, summed upwards.

    ``ancestors`` int64 [C, L] holds each label's own node and those above it, padded with -1.
    """
    sums = torch.zeros(len(probabilities), nodes, device=probabilities.device)
    for level in ancestors.T:
        has = level >= 0
        sums.index_add_(1, level[has], probabilities[:, has].float())
    return sums


def smooth(vectors: Tensor, neighbours: Sequence[tuple[Tensor, Tensor]], decay: float) -> Tensor:
    """Class embeddings [C, D] mixed with those of their relatives in the tree, of unit norm.

    ``neighbours`` holds, for each distance k = 1, 2, …, and for each direction, pairs (of, by) int64 [n]: class
    ``of`` takes from class ``by``. v'_c = l2(v_c + sum_k decay^k * mean of the vectors at distance k). Source: dense
    propagation in DGP (Kampffmeyer et al. 2019), one weight a distance and row-normalised adjacency, with a fixed decay
    in place of its learned weights and no layers.
    """
    total = vectors.float().clone()
    for position, (of, by) in enumerate(neighbours):
        if len(of):
            sums = torch.zeros_like(total).index_add_(0, of, vectors[by].float())
            counts = torch.bincount(of, minlength=len(vectors)).clamp_min(1).unsqueeze(1)
            total += decay ** (position // 2 + 1) * sums / counts
    return l2_normalize(total)


def expected_squared_distance(probabilities: Tensor, squared: Tensor) -> Tensor:
    """sum_j p_j d(j, y)^2, float32 [B, C], from ``probabilities`` [B, A] and ``squared`` distances [A, C].

    Its argmin over y is the Fréchet mean of the prediction, which need not be one of the A scored labels. Source: Loki
    (Roberts et al. 2023, "Geometry-Aware Adaptation for Pretrained Models").
    """
    return probabilities.float() @ squared.float()


def expected_euclidean(probabilities: Tensor, anchors: Tensor, classes: Tensor) -> Tensor:
    """``expected_squared_distance`` where d is the Euclidean distance of unit vectors, without the [A, C] matrix.

    sum_j p_j |a_j - c_y|^2 = (1 + 1) sum_j p_j - 2 (sum_j p_j a_j) . c_y, for ``anchors`` [A, D], ``classes`` [C, D].
    """
    p = probabilities.float()
    return 2 * p.sum(dim=1, keepdim=True) - 2 * (p @ anchors.float()) @ classes.float().T


def tree_distances(paths: Tensor) -> Tensor:
    """The number of edges between every two nodes, float32 [C, C].

    ``paths`` int64 [C, L]: from the root down to the node, padded with -1. Nodes of different trees are as far apart
    as if their roots had a common parent.
    """
    depth = (paths >= 0).sum(dim=1)
    shared = torch.zeros(len(paths), len(paths), dtype=torch.long, device=paths.device)
    same = torch.ones_like(shared, dtype=torch.bool)
    for level in paths.T:
        same &= (level.unsqueeze(1) == level.unsqueeze(0)) & (level >= 0).unsqueeze(1)
        shared += same
    return (depth.unsqueeze(1) + depth.unsqueeze(0) - 2 * shared).float()
