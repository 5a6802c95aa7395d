"""Owns how words that were ranked for a batch become a column of labels. Knows no method and no score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curator.data import Labels

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best of ``words`` for each of B rows: ``indices`` and ``scores`` [B, K], of which ``counts`` [B] are real."""

    words: Sequence[str]
    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]


def best_of(words: Sequence[str], scores: Tensor, counts: Sequence[int], top_k: int) -> Ranked:
    """The ``top_k`` best words of ``scores`` [B, W], equal ones in the order of ``words``; row i has ``counts[i]``."""
    from curator.kernels.ranking import largest

    best, indices = largest(scores, top_k)
    kept = np.minimum(np.asarray(counts, np.int64), best.shape[1])
    return Ranked(words, indices.cpu().numpy(), best.float().cpu().numpy(), kept)


def labels_of(blocks: Sequence[Ranked]) -> Labels:
    """The rows of all blocks, in order, as labels whose ids are the words; words that no row got are left out."""
    width = max((block.indices.shape[1] for block in blocks), default=0)
    numbers: dict[str, int] = {}
    indices, scores = [np.zeros((0, width), np.int64)], [np.zeros((0, width), np.float32)]
    for block in blocks:
        real = np.arange(block.indices.shape[1]) < block.counts[:, None]
        used, places = np.unique(block.indices[real], return_inverse=True)
        codes = np.array([numbers.setdefault(block.words[word], len(numbers)) for word in used.tolist()], np.int64)
        padded = np.zeros((len(block.counts), width), np.int64)
        padded[:, : real.shape[1]][real] = codes[places] if len(codes) else 0
        rated = np.zeros((len(block.counts), width), np.float32)
        rated[:, : real.shape[1]][real] = block.scores[real]
        indices.append(padded)
        scores.append(rated)
    counts = np.concatenate([np.zeros(0, np.int64), *(block.counts for block in blocks)])
    words = list(numbers)
    return Labels(words, words, np.concatenate(indices), np.concatenate(scores), counts)
