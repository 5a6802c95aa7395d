"""Owns the arithmetic of entity linking. Knows no gazetteer, caption or encoder: tensors in, tensors out."""

from __future__ import annotations

import torch
from torch import Tensor

from curator.kernels.vectors import l2_normalize


def described(names: Tensor, descriptions: Tensor) -> Tensor:
    """Entity vectors [N, D]: the renormalised mean of the unit vectors of "{name}" and "{name}, {description}".

    Source: MOFI (Wu et al. 2023, arXiv 2306.07952), where an entity's text is its name, enriched by its description.
    """
    return l2_normalize((names + descriptions) / 2)


def pooled(images: Tensor, texts: Tensor) -> Tensor:
    """Vectors [N, D] of image-text pairs: the renormalised mean of their unit vectors.

    Source: CLIPPINGS (Arora et al. 2023, arXiv 2304.03464, section 3).
    """
    return l2_normalize((images + texts) / 2)


def likeliest(shares: Tensor, cosines: Tensor, mention: Tensor, mentions: int, beta: float) -> Tensor:
    """For each of ``mentions`` mentions, which of its candidates it means: int64 [mentions], numbers of candidates.

    Candidate c has the share ``shares[c]`` of the mentions of its alias, the cosine ``cosines[c]`` with the image and
    belongs to the mention ``mention[c]``; each mention has one or more. The largest share * exp(beta * cosine) wins,
    of equal ones the first.
    """
    scores = torch.log(shares) + beta * cosines
    best = torch.full((mentions,), -torch.inf, dtype=scores.dtype, device=scores.device)
    best.scatter_reduce_(0, mention, scores, "amax")
    winners = (scores == best[mention]).nonzero().squeeze(1)
    first = torch.full((mentions,), len(scores), dtype=torch.int64, device=scores.device)
    return first.scatter_reduce_(0, mention[winners], winners, "amin")


def single_linkage(vectors: Tensor, cutoff: float, *, chunk: int = 2048) -> list[int]:
    """The cluster of each of ``vectors`` [N, D] (unit norm), numbered from 0 in order of their first members.

    What single linkage (SLINK, Sibson 1973) gives when its tree is cut at the cosine ``cutoff``: two vectors are of one
    cluster where a chain of steps, each of at least that cosine, leads from one to the other. Compares all pairs.
    """
    parent = list(range(len(vectors)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for start in range(0, len(vectors), chunk):
        near = vectors[start : start + chunk] @ vectors[start:].T >= cutoff
        for row, column in near.nonzero().tolist():
            one, other = sorted((root(start + row), root(start + column)))
            parent[other] = one
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(node), len(numbers)) for node in range(len(vectors))]
