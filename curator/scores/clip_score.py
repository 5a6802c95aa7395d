"""Owns the score of an image with its own caption: their cosine, and whether it is high enough. Knows no file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from curator.annotators import Annotator, AnnotatorSpec, Means, TextVectors
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.options import fault, numbers
from curator.scores.language import LanguageDetector
from curator.storage.base import Storage

OTHER = "other"


class ClipScore(Annotator):
    """``NAME``: cosine of image and caption, null without a caption. Hessel et al. 2021; LAION's filter.

    ``thresholds`` adds ``NAME_kept``: whether the cosine reaches the threshold of the caption's language (a table of
    codes and ``other``), false without a caption. They belong to one encoder: published ones (0.28 for ViT-B/32) do not
    carry over; ``curator percentiles`` says what share a threshold keeps.
    """

    READS_CAPTIONS = True
    OPTIONS = frozenset({"thresholds"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        if spec.options.get("thresholds") is None:
            return spec
        thresholds = numbers(spec, "thresholds")
        if OTHER not in thresholds:
            raise fault(spec, f"thresholds lack {OTHER!r}, the one for captions in none of the languages named")
        if len(thresholds) > 1:
            try:
                LanguageDetector([key for key in thresholds if key != OTHER], place=spec.place)
            except ValueError as error:
                raise fault(spec, f"thresholds: {error}; give codes such as en, de, zh") from error
        return spec

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        score = ColumnSpec(spec.name, "score", "Cosine of image and caption; null without a caption")
        if not spec.options.get("thresholds"):
            return (score,)
        stated = ", ".join(f"{language} {value}" for language, value in sorted(spec.options["thresholds"].items()))
        kept = ColumnSpec(f"{spec.name}_kept", "flag", f"Whether {spec.name} reaches its threshold: {stated}")
        return (score, kept)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> ClipScore:
        found = cls(spec, means.encoder)
        found._texts = means.texts
        found._thresholds = spec.options.get("thresholds")
        found._detect = LanguageDetector(place=spec.place) if len(found._thresholds or {}) > 1 else None
        return found

    _texts: TextVectors
    _thresholds: Mapping[str, float] | None
    _detect: LanguageDetector | None

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        cosines = pair_cosines(embeddings, self._texts)
        if self._thresholds is None:
            return {self.name: cosines}
        limits = np.array([self._limit(caption) for caption in embeddings.captions], np.float32)
        return {self.name: cosines, f"{self.name}_kept": cosines >= limits}

    def _limit(self, caption: str | None) -> float:
        assert self._thresholds is not None
        language = self._detect(caption) if self._detect and caption else None
        return self._thresholds.get(language or OTHER, self._thresholds[OTHER])


def pair_cosines(embeddings: Embeddings, texts: TextVectors) -> NDArray[np.float32]:
    """Cosine of each image with its caption [B]; NaN where there is none."""
    cosines = np.full(len(embeddings.captions), np.nan, np.float32)
    present = embeddings.captioned
    if present:
        rows = [row for row, _ in present]
        captions = texts([caption for _, caption in present])
        cosines[rows] = (embeddings.vectors[rows].float() * captions.float()).sum(dim=1).cpu().numpy()
    return cosines
