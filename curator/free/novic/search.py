"""Owns ranked nouns from embeddings: the decoder followed through the trie of a guide, by beams or through all of it.

Knows no file, no tokenizer and no column.
"""

from __future__ import annotations

import torch
from torch import Tensor

from curator.free.novic.model import END, Cache, ObjectDecoder
from curator.kernels.beam import FreeGuide, TrieGuide, beam_search
from curator.kernels.trie import Trie

_ROWS = 4096
"""How many (embedding, noun) pairs are scored at a time when all are."""


class Continuing:
    """The decoder as a beam search asks it: what follows the prefixes that it was last asked about."""

    def __init__(self, model: ObjectDecoder, vectors: Tensor) -> None:
        self._model, self._vectors = model, vectors
        self._cache: Cache | None = None

    def begin(self) -> Tensor:
        """Logits [B, V] of the first token."""
        hidden, self._cache = self._model.begin(self._vectors)
        return self._model.logits(hidden)

    def proceed(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Logits [S, V] after ``tokens`` [S], which follow the prefixes ``parents`` [S]."""
        assert self._cache is not None
        hidden, self._cache = self._model.proceed(tokens, self._cache.of(parents))
        return self._model.logits(hidden)


@torch.inference_mode()
def search(
    model: ObjectDecoder,
    vectors: Tensor,
    guide: Trie,
    beam: int,
    *,
    temperature: float = 1.0,
    length_exponent: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Numbers of guide nouns [B, W] and their log-probabilities [B, W], best first, W = min(beam, nouns)."""
    continuing, width = Continuing(model, vectors), min(beam, guide.leaves)
    nodes, scores = beam_search(
        continuing, TrieGuide(guide), width, temperature=temperature, length_exponent=length_exponent
    )
    return torch.where(nodes >= 0, guide.leaf[nodes], -1), scores


@torch.inference_mode()
def search_freely(
    model: ObjectDecoder, vectors: Tensor, beam: int, *, temperature: float = 1.0, length_exponent: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Token ids of the best sequences without any guide [B, beam, longest], and their log-probabilities [B, beam]."""
    guide = FreeGuide(model.architecture.longest, END, beam)
    nodes, scores = beam_search(
        Continuing(model, vectors), guide, beam, temperature=temperature, length_exponent=length_exponent
    )
    return guide.spelled(nodes), scores


@torch.inference_mode()
def score_all(model: ObjectDecoder, vectors: Tensor, nouns: Tensor, *, temperature: float = 1.0) -> Tensor:
    """The exact log-probability [B, N] of every noun: ``nouns`` are token ids int64 [N, longest], padded by the end."""
    lengths = (nouns != END).sum(dim=1) + 1
    scores = vectors.new_empty(len(vectors), len(nouns))
    share = max(1, _ROWS // len(vectors))
    for start in range(0, len(nouns), share):
        tokens, length = nouns[start : start + share], lengths[start : start + share]
        longest = int(length.max())
        targets = torch.cat([tokens, tokens.new_full((len(tokens), 1), END)], dim=1)[:, :longest]
        rows = vectors.repeat_interleave(len(tokens), dim=0)
        hidden = model(rows, targets[:, : longest - 1].repeat(len(vectors), 1))
        logits = model.logits(hidden).float() / temperature
        log_p = logits.log_softmax(dim=2).gather(2, targets.repeat(len(vectors), 1).unsqueeze(2)).squeeze(2)
        real = torch.arange(longest, device=vectors.device) < length.repeat(len(vectors))[:, None]
        scores[:, start : start + share] = (log_p * real).sum(dim=1).view(len(vectors), -1)
    return scores
