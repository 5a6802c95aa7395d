"""Owns CaSED as an annotator: an image's nearest captions, the words in them, and how well each word fits.

Knows neither how a caption bank is made nor the formulas, which lie in ``kernels/candidates.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from curator import options as read
from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.free.banks import Captions, bank_digest, open_bank
from curator.free.pos import FILTERS, PosFilter, is_filter, open_filter
from curator.free.ranked import Ranked, best_of, labels_of
from curator.kernels.plurals import singular
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 256  # images whose candidates are scored together: the more, the larger the product with all their words


class Cased(Annotator):
    """Conti et al. 2023: words of the nearest captions, scored by the image and by what the captions have in common."""

    OPTIONS = frozenset({"bank", "captions", "alpha", "tau", "top_k", "template", "pos", "evidence", "exact"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        read.number(spec, "alpha", 0.7, low=0.0, high=1.0)
        read.number(spec, "tau", 1.0, low=1e-6)
        read.whole(spec, "captions", 10, low=1, high=1000)
        read.whole(spec, "top_k", 5)
        read.pattern(spec, "template", "{}", "{}")
        if not is_filter(read.text(spec, "pos", "wordnet")):
            raise read.wrong(spec, "pos", f"one of {', '.join(FILTERS)}")
        read.flag(spec, "exact", default=False)
        cls.columns_of(spec)
        return replace(spec, options={**spec.options, "bank_digest": bank_digest(spec, storage)})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        top_k, captions = read.whole(spec, "top_k", 5), read.whole(spec, "captions", 10)
        labels = ColumnSpec(
            spec.name, "labels", f"Best {top_k} words of the nearest captions (CaSED), by probability among them"
        )
        if not read.flag(spec, "evidence", default=False):
            return (labels,)
        return (
            labels,
            ColumnSpec(
                f"{spec.name}_captions",
                "strings",
                f"The captions that the words of {spec.name} come from: the nearest {captions} without near-duplicates",
            ),
        )

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Cased:
        return cls(spec, means, open_bank(spec, means), open_filter(read.text(spec, "pos", "wordnet")))

    def __init__(self, spec: AnnotatorSpec, means: Means, bank: Captions, keep: PosFilter) -> None:
        super().__init__(spec, means.encoder)
        self._bank = bank
        self._keep = keep
        self._texts = means.texts
        self._scale = means.encoder.logit_scale
        self._captions = read.whole(spec, "captions", 10)
        self._top_k = read.whole(spec, "top_k", 5)
        self._alpha = read.number(spec, "alpha", 0.7, low=0.0, high=1.0)
        self._tau = read.number(spec, "tau", 1.0, low=1e-6)
        self._template = read.pattern(spec, "template", "{}", "{}")
        self._words_of = lru_cache(maxsize=1 << 16)(_caption_words)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        import torch

        blocks: list[Ranked] = []
        evidence: list[list[str]] = []
        for vectors in torch.split(embeddings.vectors, _ROWS):
            captions, centroids = self.retrieve(vectors)
            blocks.append(self._ranked(vectors, centroids, self.candidates(captions)))
            evidence += captions
        values: dict[str, ColumnValues] = {self.name: labels_of(blocks)}
        if len(self.columns) > 1:
            values[self.columns[1].name] = evidence
        return values

    def retrieve(self, vectors: Tensor) -> tuple[list[list[str]], Tensor]:
        """The kept captions of each image, best first, and the centroids [B, D] of their embeddings."""
        from curator.kernels.candidates import centroids, distinct_captions

        _, found = self._bank.search(vectors, self._captions)
        indices = found.cpu()
        valid = (indices >= 0).cumprod(dim=1).bool()
        rows = self._bank.vectors(indices.clamp_min(0).reshape(-1).numpy())
        neighbours = rows.to(vectors.device).view(*indices.shape, vectors.shape[1])
        kept = distinct_captions(neighbours, valid.to(vectors.device))
        texts = iter(self._bank.texts(indices[kept.cpu()].numpy()))
        captions = [[next(texts) for _ in range(count)] for count in kept.sum(dim=1).tolist()]
        return captions, centroids(neighbours, kept)

    def candidates(self, captions: Sequence[Sequence[str]]) -> list[list[str]]:
        """The candidate words of each image, in alphabetical order, from its captions."""
        from curator.kernels.candidates import candidates, repeated

        frequent = [repeated(self._all_words(texts)) for texts in captions]
        return [candidates(words) for words in self._keep(frequent)]

    def _all_words(self, texts: Sequence[str]) -> Sequence[str]:
        """The words of an image's captions joined. Only a tag can reach from one caption into the next."""
        if any("<" in text for text in texts):
            return _caption_words(" ".join(texts))
        return [word for text in texts for word in self._words_of(text)]

    def _ranked(self, images: Tensor, captions: Tensor, candidates: Sequence[Sequence[str]]) -> Ranked:
        import torch

        from curator.kernels.candidates import candidate_scores

        words = sorted({word for each in candidates for word in each})
        place = {word: column for column, word in enumerate(words)}
        counts = [len(each) for each in candidates]
        mask = np.zeros((len(candidates), len(words)), np.bool_)
        mask[np.repeat(np.arange(len(counts)), counts), [place[word] for each in candidates for word in each]] = True
        scores = candidate_scores(
            images,
            captions,
            self._texts([self._template.format(word) for word in words]),
            torch.from_numpy(mask).to(images.device),
            scale=self._scale,
            tau=self._tau,
            alpha=self._alpha,
        )
        return best_of(words, scores, counts, self._top_k)


def _caption_words(text: str) -> tuple[str, ...]:
    from curator.kernels.candidates import words_of

    return tuple(words_of(text, singular))
