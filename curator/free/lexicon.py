"""Owns the lexicon that ships with Curator: of WordNet's nouns, adjectives and verbs what labels need to know.

Knows no caption, no encoder and no file but its own. That has four sections, divided by an empty line: nouns (lemma,
uses as a noun, uses as a verb or adverb, numbers of its synsets), adjectives (lemma, uses, uses as a verb or adverb),
verbs, and irregular forms of verbs. Uses are those in the texts that WordNet's makers tagged (cntlist).
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

NAME = "wordnet.tsv.xz"
_FOLDER = Path(__file__).with_name("wordnet")
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


@dataclass(frozen=True)
class Lexicon:
    """``nouns`` maps every noun and noun phrase to the numbers of its synsets, the most frequent sense first.

    ``uses`` counts a noun in WordNet's tagged texts. ``named`` are the single words that are nouns or adjectives at
    least as often as one time in ten.
    """

    nouns: dict[str, tuple[int, ...]]
    uses: dict[str, int]
    named: frozenset[str]
    verbs: frozenset[str]
    irregular: frozenset[str]

    def names(self, word: str) -> bool:
        """Whether the lower-case ``word`` can be a noun, an adjective or a participle: what may name a picture."""
        return word in self.named or (word not in _CLOSED and self._participle(word))

    def _participle(self, word: str) -> bool:
        if word in self.irregular:
            return True
        for ending in ("ing", "ed"):
            stem = word.removesuffix(ending)
            if stem != word and len(stem) > 1:
                doubled = len(stem) > 2 and stem[-1] == stem[-2] and stem[:-1] in self.verbs
                return doubled or stem in self.verbs or f"{stem}e" in self.verbs or _with_y(stem) in self.verbs
        return False

    def synonyms(self, one: str, other: str) -> bool:
        """Whether two nouns share a sense, whichever it is."""
        return not set(self.nouns.get(one, ())).isdisjoint(self.nouns.get(other, ()))

    def frequent(self, least: int = 1) -> list[str]:
        """The nouns that WordNet's tagged texts use at least ``least`` times, most frequent first, then by alphabet."""
        used = [word for word, uses in self.uses.items() if uses >= least and _is_name(word)]
        return sorted(used, key=lambda word: (-self.uses[word], word))


def _with_y(stem: str) -> str:
    return f"{stem[:-1]}y" if stem.endswith("i") else stem


def _is_name(word: str) -> bool:
    return len(word) > 2 and word.replace(" ", "").replace("-", "").isalpha() and word not in _CLOSED


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lexicon that comes with Curator; read once in a process, in about a quarter of a second."""
    return read_lexicon(_FOLDER / NAME)


def read_lexicon(path: Path) -> Lexicon:
    """A lexicon that ``make_lexicon`` wrote."""
    text = lzma.decompress(path.read_bytes()).decode()
    nouns, adjectives, verbs, irregular = (
        [line.split("\t") for line in section.split("\n")] for section in text.split("\n\n")
    )
    named = {row[0] for row in (*nouns, *adjectives) if row[0].isalpha() and row[0] not in _CLOSED and _often(row)}
    return Lexicon(
        nouns={row[0]: tuple(map(int, row[3].split())) for row in nouns},
        uses={row[0]: int(row[1]) for row in nouns if row[1] != "0"},
        named=frozenset(named),
        verbs=frozenset(row[0] for row in verbs),
        irregular=frozenset(row[0] for row in irregular),
    )


def _often(row: Sequence[str]) -> bool:
    """Whether the word is used as this part of speech often enough beside its uses as a verb or an adverb."""
    here, elsewhere = int(row[1]), int(row[2])
    return here >= _RARE * (here + elsewhere)
