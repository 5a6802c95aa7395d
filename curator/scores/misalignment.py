"""Owns the columns of words in a caption that the image speaks against. Knows no gradient: words are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.annotators import Annotator, AnnotatorSpec, Means, TextVectors
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.kernels.misalignment import content_words, leave_one_out, penalised, without
from curator.options import number, whole
from curator.scores.rows import labels_of
from curator.storage.base import Storage

MAX_WORDS = 16


class Misalignment(Annotator):
    """``NAME``: words whose presence lowers the cosine of caption and image, worst first; ``NAME_score``: that cosine
    with their shares added.

    A word is misaligned where the caption's cosine is lower with it than without it by more than ``-threshold``
    (default 0). Costs a text for each of the caption's first ``max_words`` content words: an option for small or
    already filtered sets.
    """

    READS_CAPTIONS = True
    OPTIONS = frozenset({"threshold", "max_words"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        number(spec, "threshold", 0.0, high=0.0)
        whole(spec, "max_words", MAX_WORDS)
        return spec

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        words = "Words of the caption that the image speaks against, worst first; score: their share in the cosine"
        score = "Cosine of image and caption with the shares of misaligned words added; null without a caption"
        return (ColumnSpec(spec.name, "labels", words), ColumnSpec(f"{spec.name}_score", "score", score))

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Misalignment:
        found = cls(spec, means.encoder)
        found._texts = means.texts
        found._threshold = number(spec, "threshold", 0.0)
        found._max_words = whole(spec, "max_words", MAX_WORDS)
        return found

    _texts: TextVectors
    _threshold: float
    _max_words: int

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        n = len(embeddings.captions)
        scores = np.full(n, np.nan, np.float32)
        found: list[list[tuple[str, str, float]]] = [[] for _ in range(n)]
        for row, caption in embeddings.captioned:
            words = content_words(caption, self._max_words)
            cosines = self._cosines(embeddings, row, [caption, *(without(caption, word) for word in words)])
            shares = leave_one_out(float(cosines[0]), cosines[1:].tolist())
            scores[row] = penalised(float(cosines[0]), shares, self._threshold)
            order = np.argsort(shares, kind="stable")
            found[row] = [(words[i], words[i], float(shares[i])) for i in order if shares[i] < self._threshold]
        return {self.name: labels_of(found), f"{self.name}_score": scores}

    def _cosines(self, embeddings: Embeddings, row: int, texts: list[str]) -> NDArray[np.float32]:
        cosines: NDArray[np.float32] = (self._texts(texts).float() @ embeddings.vectors[row].float()).cpu().numpy()
        return cosines
