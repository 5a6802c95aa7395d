"""Owns what the words and the pairs of words of a caption are, and how rare they are. Knows no file and no run."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

NEVER = 2**62
"""The rank of what does not occur: after everything that does."""


def ngrams(text: str) -> list[str]:
    """The unigrams and bigrams of ``text`` in lower case, as often as they occur. Words stand between white space."""
    words = text.lower().split()
    return [*words, *(f"{word} {following}" for word, following in itertools.pairwise(words))]


def ngram_key(ngram: str) -> str:
    """The identity of an n-gram: 16 hexadecimal digits of the BLAKE2b of its UTF-8."""
    return hashlib.blake2b(ngram.encode(errors="replace"), digest_size=8).hexdigest()


class NgramRanks:
    """How frequent each n-gram of a set of captions is among all: rank 1 is the most frequent, equal counts share one.

    Source: ALIGN (Jia et al. 2021, arXiv 2102.05918, section 3.2), which drops texts with a token outside the 100
    million most frequent unigrams and bigrams of the raw set. 16 bytes for every n-gram.
    """

    def __init__(self, keys: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
        """``keys`` are those of ``ngram_key`` as numbers, in ascending order, ``counts`` how often each occurs."""
        self._keys = keys
        ascending = np.sort(counts)
        self._ranks = 1 + len(counts) - np.searchsorted(ascending, counts, side="right")

    def rarest(self, texts: Iterable[str]) -> Sequence[int]:
        """The rank of the rarest n-gram of each text: ``NEVER`` where it does not occur, 0 of a text without words."""
        lists = [[int(ngram_key(ngram), 16) for ngram in ngrams(text)] for text in texts]
        flat = np.array([key for keys in lists for key in keys], np.uint64)
        ranks = np.full(len(flat), NEVER, np.int64)
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, flat), len(self._keys) - 1)
            found = self._keys[places] == flat
            ranks[found] = self._ranks[places[found]]
        ends = np.cumsum([len(keys) for keys in lists], dtype=np.int64)
        return [
            int(ranks[end - len(keys) : end].max(initial=0)) for keys, end in zip(lists, ends.tolist(), strict=True)
        ]
