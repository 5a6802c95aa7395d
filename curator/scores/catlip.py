"""Owns the column of WordNet classes that a caption's nouns name, as CatLIP makes its targets. Knows no image."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.kernels.nouns import unwrapped
from curator.options import content, fault, json_of, package, text, whole
from curator.scores.rows import labels_of
from curator.storage.base import Storage
from curator.wordnet.lexicon import lexicon

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class NounFinder:
    """The classes of a caption's nouns: cleaned, repaired (ftfy), lower case, Treebank words, first senses.

    Words of any part of speech are looked up, as in the published code, whose tags are not used. A full stop that ends
    a sentence is taken off its word wherever white space follows.
    """

    def __init__(self, place: str = "catlip") -> None:
        self._words: Any = package("nltk.tokenize.destructive", "scores", place).NLTKWordTokenizer()
        self._fix: Any = package("ftfy", "scores", place).fix_text
        self._classes = lexicon().classes.classes

    def __call__(self, caption: str) -> dict[str, str]:
        """Classes (``n2084071``) in order of mention, each once, with the noun that led there."""
        text = self._fix(unwrapped(caption)).strip().lower()
        words = [word for sentence in _SENTENCE_END.split(text) for word in self._words.tokenize(sentence)]
        return self._classes(words)


class CatLip(Annotator):
    """``NAME``: the WordNet noun synsets that the caption's words name.

    ``vocabulary`` (JSON: a list of classes, or an object class -> count, as ``curator concepts`` writes it) restricts
    them to its first ``vocabulary_size`` classes, those of an object by falling count.
    """

    READS_CAPTIONS = True
    OPTIONS = frozenset({"vocabulary", "vocabulary_size"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        url, size = text(spec, "vocabulary", None), whole(spec, "vocabulary_size", None)
        if url is None:
            if size is not None:
                raise fault(spec, "vocabulary_size needs a vocabulary that it is the size of")
            return spec
        found = json_of(spec, "vocabulary", content(spec, "vocabulary", storage))
        if isinstance(found, Mapping):
            found = sorted(found, key=lambda key: (-found[key], key))
        if not isinstance(found, list) or not found or not all(isinstance(each, str) for each in found):
            raise fault(spec, f"vocabulary {url} must be a JSON list of classes, or an object class -> count")
        options = {key: value for key, value in spec.options.items() if key != "vocabulary_size"}
        return replace(spec, options={**options, "vocabulary": tuple(found[:size])})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        what = "WordNet 3.0 synsets of the caption's nouns (CatLIP): n and offset, the noun; without a score"
        return (ColumnSpec(spec.name, "labels", what),)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> CatLip:
        found = cls(spec, means.encoder)
        found._find = NounFinder(spec.place)
        vocabulary: Sequence[str] | None = spec.options.get("vocabulary")
        found._kept = None if vocabulary is None else frozenset(vocabulary)
        return found

    _find: NounFinder
    _kept: frozenset[str] | None

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        rows: list[list[tuple[str, str, float]]] = [[] for _ in embeddings.captions]
        for row, caption in embeddings.captioned:
            found = self._find(caption).items()
            rows[row] = [(key, noun, math.nan) for key, noun in found if self._kept is None or key in self._kept]
        return {self.name: labels_of(rows)}
