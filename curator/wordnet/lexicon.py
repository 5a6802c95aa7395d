"""Owns the lexicon that ships with Curator: of WordNet's nouns, adjectives and verbs what labels and scores need.

Knows no caption, no encoder and no file but its own: a zip of texts, a line each. ``nouns`` of one word, the offset of
their most frequent synset in ``noun_firsts`` (marked where it is named by this noun), those of others in
``noun_others``; ``phrases`` of several words, with the offsets of all theirs in ``phrase_senses``. ``adjectives``,
``verbs``, irregular ``verb_forms``; irregular ``plurals`` with their base forms. ``uses``: how often the texts that
WordNet's makers tagged (cntlist) use a lemma as a noun, verb, adjective and adverb. Every part is read when it is first
asked for.
"""

from __future__ import annotations

import zipfile
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from curator.kernels.nouns import NounClasses

Part: TypeAlias = Literal[
    "nouns",
    "noun_firsts",
    "noun_others",
    "phrases",
    "phrase_senses",
    "adjectives",
    "verbs",
    "verb_forms",
    "plurals",
    "uses",
]

NAME = "wordnet.zip"
HEADED = "*"
_RARE = 0.1

# WordNet's noun index has "are" (a measure), "in" (indium), "who" (an organisation): closed classes are no candidates.
_FUNCTION_WORDS = """
a about above after against all am among an and another any are around as at be because been before being below
between both but by can could did do does down during each either every few for from had has have he her here him
his how i if in into is it its just many may me might mine more most much must my neither no nor not now of off
on or other our out over own per shall she should since so some such than that the their them then there these
they this those through thus to too under until up upon us was we were what when where which while who whom whose
why will with within without would you your
"""
_CLOSED = frozenset(_FUNCTION_WORDS.split())


class Lexicon:
    """WordNet's words in lower case, spaces for underscores; synsets are numbered by their offset in WordNet 3.0."""

    def __init__(self, path: Path) -> None:
        """A lexicon that ``making`` wrote."""
        self._path = path

    @cached_property
    def nouns(self) -> frozenset[str]:
        """Every noun and noun phrase."""
        return frozenset(self._senses)

    @cached_property
    def uses(self) -> dict[str, int]:
        """How often WordNet's tagged texts use a noun, as far as they do."""
        nouns = {*self._lines("nouns"), *self._lines("phrases")}
        return {lemma: noun for lemma, (noun, *_) in self._uses.items() if noun and lemma in nouns}

    @cached_property
    def named(self) -> frozenset[str]:
        """The single words that are nouns or adjectives in at least one use of ten."""
        nouns = (word for word in self._lines("nouns") if self._often(word, 0))
        adjectives = (word for word in self._lines("adjectives") if self._often(word, 2))
        return frozenset(word for word in (*nouns, *adjectives) if word.isalpha() and word not in _CLOSED)

    @cached_property
    def classes(self) -> NounClasses:
        """Nouns of one word with the class that CatLIP gives to them: ``n`` and the offset without leading zeros."""
        firsts = (f"n{first[1:]}" if first[0] == HEADED else None for first in self._lines("noun_firsts"))
        plurals = (line.split(" ") for line in self._lines("plurals"))
        return NounClasses(
            dict(zip(self._lines("nouns"), firsts, strict=True)), {form: bases for form, *bases in plurals}
        )

    def synsets(self, noun: str) -> tuple[int, ...]:
        """The synsets of a noun, its most frequent sense first; none where it is not known."""
        return tuple(map(int, self._senses.get(noun, "").split()))

    def synonyms(self, one: str, other: str) -> bool:
        """Whether two nouns share a sense, whichever it is."""
        return not set(self.synsets(one)).isdisjoint(self.synsets(other))

    def frequent(self, least: int = 1) -> list[str]:
        """The nouns that WordNet's tagged texts use at least ``least`` times, most frequent first, then by alphabet."""
        used = [word for word, uses in self.uses.items() if uses >= least and _is_name(word)]
        return sorted(used, key=lambda word: (-self.uses[word], word))

    def names(self, word: str) -> bool:
        """Whether the lower-case ``word`` can be a noun, an adjective or a participle: what may name a picture."""
        return word in self.named or (word not in _CLOSED and self._participle(word))

    def _participle(self, word: str) -> bool:
        if word in self._irregular:
            return True
        for ending in ("ing", "ed"):
            stem = word.removesuffix(ending)
            if stem != word and len(stem) > 1:
                doubled = len(stem) > 2 and stem[-1] == stem[-2] and stem[:-1] in self._verbs
                return doubled or stem in self._verbs or f"{stem}e" in self._verbs or _with_y(stem) in self._verbs
        return False

    def _often(self, word: str, place: int) -> bool:
        """Whether the word is used as this part of speech often enough beside its uses as a verb or an adverb."""
        uses = self._uses.get(word)
        return uses is None or uses[place] >= _RARE * (uses[place] + uses[1] + uses[3])

    @cached_property
    def _senses(self) -> dict[str, str]:
        firsts, others = self._lines("noun_firsts"), self._lines("noun_others")
        senses = (f"{first.lstrip(HEADED)} {other}" for first, other in zip(firsts, others, strict=True))
        found = dict(zip(self._lines("nouns"), senses, strict=True))
        found.update(zip(self._lines("phrases"), self._lines("phrase_senses"), strict=True))
        return found

    @cached_property
    def _uses(self) -> dict[str, tuple[int, ...]]:
        rows = (line.split("\t") for line in self._lines("uses"))
        return {lemma: tuple(map(int, counts)) for lemma, *counts in rows}

    @cached_property
    def _verbs(self) -> frozenset[str]:
        return frozenset(self._lines("verbs"))

    @cached_property
    def _irregular(self) -> frozenset[str]:
        return frozenset(self._lines("verb_forms"))

    def _lines(self, part: Part) -> list[str]:
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(f"{part}.txt").decode().split("\n")


def _with_y(stem: str) -> str:
    return f"{stem[:-1]}y" if stem.endswith("i") else stem


def _is_name(word: str) -> bool:
    return len(word) > 2 and word.replace(" ", "").replace("-", "").isalpha() and word not in _CLOSED


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lexicon that comes with Curator."""
    return Lexicon(Path(__file__).with_name(NAME))
