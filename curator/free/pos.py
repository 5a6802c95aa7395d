"""Owns which words of captions may name a picture: a filter by part of speech, of which there are several.

Knows no bank and no score. CaSED keeps nouns, adjectives and participles (NN, NNS, NNP, NNPS, JJ, JJR, JJS, VBG, VBN).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from curator.errors import ConfigError
from curator.kernels.plurals import singular
from curator.options import package
from curator.wordnet.lexicon import lexicon

if TYPE_CHECKING:
    from curator.wordnet.lexicon import Lexicon

PosFilter: TypeAlias = "Callable[[Sequence[Sequence[str]]], list[list[str]]]"
"""From the words of B images, each in the order of its captions, to those of them that are kept."""

KEPT_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS", "JJ", "JJR", "JJS", "VBG", "VBN"})
FILTERS = ("wordnet", "none", "spacy:MODEL", "flair:MODEL")
_KNOWN = re.compile(r"wordnet|none|(spacy|flair):\S+")


def is_filter(name: str) -> bool:
    """Whether ``open_filter`` knows the name."""
    return _KNOWN.fullmatch(name) is not None


def open_filter(name: str) -> PosFilter:
    """``wordnet`` (needs nothing), ``none``, or a tagger ``spacy:en_core_web_sm``, ``flair:flair/pos-english-fast``.

    Raises ConfigError where the tagger's package or weights are not there.
    """
    kind, _, model = name.partition(":")
    if kind == "wordnet":
        return WordNetFilter(lexicon())
    if kind == "none":
        return lambda images: [list(words) for words in images]
    return {"spacy": _spacy, "flair": _flair}[kind](model)


class WordNetFilter:
    """Keeps what can be a noun, an adjective or a participle, whatever it is in its sentence.

    A tagger with weights reads the sentence; this looks words up: "play" is kept in "kids play football", too, and
    names that WordNet does not list are lost. A word that is a verb or an adverb nine times out of ten is not kept.
    """

    def __init__(self, words: Lexicon) -> None:
        self._lexicon = words
        self._keeps = lru_cache(maxsize=1 << 16)(self._names)

    def __call__(self, images: Sequence[Sequence[str]]) -> list[list[str]]:
        return [[word for word in words if self._keeps(word)] for words in images]

    def _names(self, word: str) -> bool:
        if self._lexicon.names(word):
            return True
        return word.endswith("s") and not word.endswith("ss") and self._lexicon.names(singular(word))


def _spacy(model: str) -> PosFilter:
    spacy = package("spacy", "spacy", f"pos spacy:{model}")
    try:
        language = spacy.load(model, exclude=["parser", "ner", "lemmatizer"])
    except OSError as error:
        raise ConfigError(f"pos spacy:{model}: {error}; python -m spacy download {model}") from error

    def keep(images: Sequence[Sequence[str]]) -> list[list[str]]:
        documents = (spacy.tokens.Doc(language.vocab, words=list(words)) for words in images)
        return [[token.text for token in each if token.tag_ in KEPT_TAGS] for each in language.pipe(documents)]

    return keep


def _flair(model: str) -> PosFilter:
    sentence = package("flair.data", "flair", f"pos flair:{model}").Sentence
    models = package("flair.models", "flair", f"pos flair:{model}")
    try:
        tagger = models.SequenceTagger.load(model)
    except (OSError, ValueError) as error:
        raise ConfigError(f"pos flair:{model}: {error}; give a tagger of flair's") from error

    def keep(images: Sequence[Sequence[str]]) -> list[list[str]]:
        sentences = [sentence(" ".join(words), use_tokenizer=False) for words in images]
        tagger.predict([each for each in sentences if len(each)])
        return [[token.text for token in each if token.tag in KEPT_TAGS] for each in sentences]

    return keep
