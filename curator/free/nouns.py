"""Owns where the words of a method come from: WordNet's nouns or a list of the user's. Knows no method."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from curator import options as read
from curator.annotators import AnnotatorSpec
from curator.storage.base import Storage
from curator.wordnet.lexicon import lexicon

WORDNET = "wordnet"
_EVERY = "wordnet:all"


def read_nouns(spec: AnnotatorSpec, key: str, storage: Storage) -> AnnotatorSpec:
    """``spec`` with the words of the option ``key`` settled, by the driver.

    They are ``wordnet`` (the default: the 11,776 nouns of WordNet's tagged texts), ``wordnet:all`` (its 117,000 nouns
    and names), a text file with a word a line, or a list.

    What stood in a file takes its place; of WordNet's words the options keep a digest.
    """
    value = spec.options.get(key, WORDNET)
    if isinstance(value, str) and value not in (WORDNET, _EVERY):
        return replace(spec, options={**spec.options, key: read.lines(spec, key, storage)})
    words = _wordnet(value) if isinstance(value, str) else read.texts(spec, key, ())
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    return replace(spec, options={**spec.options, key: value, f"{key}_digest": digest})


def words_of(spec: AnnotatorSpec, key: str) -> Sequence[str]:
    """The words that ``read_nouns`` settled."""
    value = spec.options.get(key, WORDNET)
    return _wordnet(value) if isinstance(value, str) else value


def _wordnet(value: str) -> Sequence[str]:
    words = lexicon()
    return sorted(words.nouns) if value == _EVERY else words.frequent()
