"""Owns the columns that say how long a caption is and in which language. Knows no image."""

from __future__ import annotations

import numpy as np

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.options import fault, flag, number, texts
from curator.scores.language import LanguageDetector
from curator.storage.base import Storage


class CaptionStats(Annotator):
    """``NAME_chars``, ``NAME_words``, ``NAME_language``; all null where there is no caption.

    A word is what stands between white space, so that a text in a script without spaces counts as one. ``language``
    false leaves its column out; ``languages`` are the only ones to choose from; a language below ``min_language_score``
    (a probability) is null.
    """

    READS_CAPTIONS = True
    OPTIONS = frozenset({"language", "languages", "min_language_score"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        flag(spec, "language", default=True)
        number(spec, "min_language_score", 0.0, low=0.0, high=1.0)
        if spec.options.get("languages") is None:
            return spec
        try:
            _detector(spec)
        except ValueError as error:
            raise fault(spec, f"languages: {error}; give codes such as en, de, zh") from error
        return spec

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        name = spec.name
        columns = (
            ColumnSpec(f"{name}_chars", "count", "Characters (code points) of the caption"),
            ColumnSpec(f"{name}_words", "count", "Words of the caption, divided by white space"),
        )
        if not spec.options.get("language", True):
            return columns
        return (*columns, ColumnSpec(f"{name}_language", "text", "Language of the caption (ISO 639), by py3langid"))

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> CaptionStats:
        found = cls(spec, means.encoder)
        found._detect = _detector(spec)
        return found

    _detect: LanguageDetector | None

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        n = len(embeddings.captions)
        chars, words = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
        languages: list[str | None] = [None] * n
        for row, caption in embeddings.captioned:
            chars[row], words[row] = len(caption), len(caption.split())
            if self._detect is not None:
                languages[row] = self._detect(caption)
        values: dict[str, ColumnValues] = {f"{self.name}_chars": chars, f"{self.name}_words": words}
        if self._detect is not None:
            values[f"{self.name}_language"] = languages
        return values


def _detector(spec: AnnotatorSpec) -> LanguageDetector | None:
    if not spec.options.get("language", True):
        return None
    languages = None if spec.options.get("languages") is None else texts(spec, "languages", ())
    return LanguageDetector(languages, number(spec, "min_language_score", 0.0), spec.place)
