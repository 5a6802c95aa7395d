"""Owns what becomes of class descriptions: descriptor sentences, random ones, which tell classes apart, their scores.

Knows strings and embeddings, not files or models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from curator.kernels.ranking import largest

WAFFLE_LABELS = 2048
"""Up to so many labels the random texts are drawn label by label as in the paper's code; beyond, for one label only."""


def descriptor_sentence(descriptor: str, *, whole_words: bool = True) -> str:
    """ "which is a fruit", "which often flies", "which has wings": a descriptor as a relative clause.

    Source: DCLIP (Menon & Vondrick 2023). There a descriptor that merely begins with the letter a ("antennae") also
    gets "is"; ``whole_words`` False is that rule to the letter, as WaffleCLIP's random characters need it.
    """
    first = descriptor.split(" ", 1)[0]

    def begins(*words: str) -> bool:
        return first in words if whole_words else descriptor.startswith(words)

    if begins("a", "an") or begins("used"):
        return f"which is {descriptor}"
    if begins("has", "have", "often", "typically", "may", "can") if whole_words else _published(descriptor):
        return f"which {descriptor}"
    return f"which has {descriptor}"


def _published(descriptor: str) -> bool:
    return descriptor.startswith(("has", "often", "typically", "may", "can"))


def waffle(names: Sequence[str], words: Sequence[str], alphabet: Sequence[str], *, pairs: int, seed: int) -> list[str]:
    """Random descriptors that all labels share: ``pairs`` times random words, then random characters.

    As many words, and of the length, that the label names have on average; as many characters as their longest words.
    Without ``words`` only the characters. Draws as the authors' code does, from NumPy's legacy generator, label by
    label, keeping one label's list. Source: WaffleCLIP (Roth et al. 2023).
    """
    random = np.random.RandomState(seed)
    split = [name.split(" ") for name in names]
    count = max(int(np.round(np.mean([len(each) for each in split]))), 1)
    length = int(np.round(np.mean([np.mean([len(word) for word in each]) for each in split])))
    groups = int(np.round(np.mean([name.count(" ") for name in names]))) + 1
    characters = math.ceil(float(np.mean([max(len(word) for word in each) for each in split])))
    characters += groups - characters % groups
    cut = [word[:length] for word in words]

    def draw(pool: Sequence[str]) -> str:
        return pool[int(random.choice(len(pool), 1, replace=False)[0])]

    drawn: list[list[str]] = []
    for _ in range(len(names) if len(names) <= WAFFLE_LABELS else 1):
        texts = []
        for _ in range(pairs):
            if cut:
                texts.append(" ".join(draw(cut) for _ in range(count)))
            texts.append(", ".join("".join(draw(alphabet) for _ in range(characters // groups)) for _ in range(groups)))
        drawn.append(texts)
    return drawn[int(random.choice(len(drawn)))]


def plain_means(vectors: Tensor, owners: Tensor, count: int) -> Tensor:
    """Means [count, D] of the rows of ``vectors`` [N, D] by ``owners`` int64 [N], float32, not renormalised.

    Their product with an image is the mean of its cosines with each class's descriptors: DCLIP's score, and
    WaffleCLIP's. CuPL renormalises them (``class_means``), which differs wherever their lengths differ by class.
    """
    sums = torch.zeros(count, vectors.shape[1], device=vectors.device).index_add_(0, owners, vectors.float())
    return sums / torch.bincount(owners, minlength=count).unsqueeze(1)


def group_max(cosines: Tensor, owners: Tensor, count: int) -> Tensor:
    """The largest of ``cosines`` [B, N] within each group of columns, [B, count]; every group has a column."""
    index = owners.expand(len(cosines), -1)
    start = torch.full((len(cosines), count), -torch.inf, dtype=cosines.dtype, device=cosines.device)
    return start.scatter_reduce(1, index, cosines, "amax", include_self=False)


def discriminative(means: Tensor, m: int) -> list[Tensor]:
    """Which descriptions tell k neighbours apart: for each class the indices int64 of at most ``m``, best first.

    ``means`` [k, N] is the mean cosine of N descriptions with the sample images of each class. A description is for
    class c if no neighbour is closer to it; it ranks by its mean lead over them. Equal leads by index. Source: DisCLIP
    (Ma et al. 2025, "Does VLM Classification Benefit from LLM Description Semantics?"), selection step.
    """
    k = len(means)
    lead = (means * k - means.sum(dim=0)) / max(k - 1, 1) if k > 1 else means
    kept = means >= means.amax(dim=0)
    scores, indices = largest(torch.where(kept, lead, -torch.inf), m)
    return [row[found > -torch.inf] for row, found in zip(indices, scores, strict=True)]
