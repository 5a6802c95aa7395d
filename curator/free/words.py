"""Owns naming by the nearest words of a list: the cheap way to labels without a vocabulary. Knows no tagger.

With a bank of captions as memory, the words of the nearest captions vote (FreeDom).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from curator import options as read
from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, TextBank
from curator.free.banks import Captions, bank_digest, open_bank
from curator.free.nouns import read_nouns, words_of
from curator.free.ranked import Ranked, labels_of
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_TEMPLATE = "a photo of a {}."
_OF_CAPTIONS = frozenset({"exact", "mapped", "neighbours"})
_VOTES = 1 << 24  # of images times words that are counted at a time


class Words(Annotator):
    """The nearest of the nouns in WordNet's texts, or of any list, by probability or, with a memory, by votes."""

    OPTIONS = frozenset({"words", "template", "top_k", "bank", "exact", "neighbours", "mapped"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        read.pattern(spec, "template", _TEMPLATE, "{}")
        read.whole(spec, "mapped", 1)
        read.whole(spec, "neighbours", 10)
        cls.columns_of(spec)
        spec = read_nouns(spec, "words", storage)
        if _voted(spec):
            read.flag(spec, "exact", default=False)
            return replace(spec, options={**spec.options, "bank_digest": bank_digest(spec, storage)})
        for key in sorted(_OF_CAPTIONS & spec.options.keys()):
            raise read.fault(spec, f'{key} is for captions that vote: give bank = "embedded" or the url of a bank')
        return spec

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        top_k = read.whole(spec, "top_k", 5)
        how = "share of votes of the image and its nearest captions" if _voted(spec) else "probability among all words"
        return (ColumnSpec(spec.name, "labels", f"Nearest {top_k} words of a list, by {how}"),)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Words:
        from curator.labels.banks import text_bank

        names = words_of(spec, "words")
        template = read.pattern(spec, "template", _TEMPLATE, "{}")
        words = text_bank([template.format(name) for name in names], means.encoder, cache_dir=means.cache_dir)
        return cls(spec, means, replace(words, names=tuple(names)), open_bank(spec, means) if _voted(spec) else None)

    def __init__(self, spec: AnnotatorSpec, means: Means, words: TextBank, memory: Captions | None) -> None:
        super().__init__(spec, means.encoder)
        self._names = words.names
        self._vectors = words.vectors.to(means.encoder.device)
        self._memory = memory
        self._scale = means.encoder.logit_scale
        self._top_k = min(read.whole(spec, "top_k", 5), len(words.names))
        self._mapped = min(read.whole(spec, "mapped", 1), len(words.names))
        self._neighbours = read.whole(spec, "neighbours", 10)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        import torch

        rows = max(1, _VOTES // len(self._names))
        blocks = [
            self._nearest(vectors) if self._memory is None else self._voted(vectors, self._memory)
            for vectors in torch.split(embeddings.vectors, rows)
        ]
        return {self.name: labels_of(blocks)}

    def _nearest(self, images: Tensor) -> Ranked:
        from curator.kernels.ranking import rank

        found = rank(images, self._vectors, self._top_k, scale=self._scale)
        assert found.log_sum_exp is not None
        scores = (found.scores * self._scale - found.log_sum_exp[:, None]).exp()
        return self._ranked(found.indices, scores)

    def _voted(self, images: Tensor, memory: Captions) -> Ranked:
        """The words with most votes; of those with equally many, the nearer to the image."""
        import torch

        from curator.kernels.naming import word_votes
        from curator.kernels.ranking import largest, top_k

        _, found = memory.search(images, self._neighbours)
        indices = found.cpu()
        captions, places = np.unique(indices.clamp_min(0).numpy(), return_inverse=True)
        vectors = memory.vectors(captions).to(self._vectors)
        named = top_k(vectors, self._vectors, self._mapped)[1][torch.from_numpy(places.reshape(indices.shape))]
        own = top_k(images, self._vectors, self._mapped)[1]
        votes = word_votes(own, named, (indices >= 0).to(images.device), len(self._names))
        nearness = (images @ self._vectors.T + 1) / 2  # 0 to 1: less than a vote, once divided
        voters = 1 + self._neighbours
        _, best = largest(votes + nearness / (2 * voters), self._top_k)
        return self._ranked(best, votes.gather(1, best))

    def _ranked(self, indices: Tensor, scores: Tensor) -> Ranked:
        counts = np.full(len(indices), indices.shape[1], np.int64)
        return Ranked(self._names, indices.cpu().numpy(), scores.float().cpu().numpy(), counts)


def _voted(spec: AnnotatorSpec) -> bool:
    return "bank" in spec.options
