"""Owns the reading of WordNet's own files: which words are nouns, their glosses, and what they are kinds of.

Knows no picture, caption or vocabulary, nor what of it ships. File formats: WordNet 3.0 manual, wndb(5WN),
cntlist(5WN), morphy(7WN).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curator.errors import ConfigError

_TOO_GENERAL = re.compile(
    "entity|physical entity|abstraction|abstract entity|object|physical object|whole|unit|matter|"
    "psychological feature|attribute|group|grouping|relation|causal agent|cause|thing|event|living thing|"
    "animate thing|artifact|artefact|organism|being|measure|communication|state|instrumentality|"
    "instrumentation|chordate|vertebrate|craniate|act|deed|content|property"
)


@dataclass(frozen=True)
class Synset:
    """One noun sense: its words (spaces for underscores), its definition, and the offsets of its hypernyms."""

    words: tuple[str, ...]
    gloss: str
    hypernyms: tuple[int, ...]


class WordNet:
    """The nouns of WordNet, senses in order of frequency."""

    def __init__(self, folder: Path) -> None:
        """Read `index.noun`, `data.noun` and `cntlist.rev` of `folder`; raises ConfigError when they are not there."""
        if not (folder / "data.noun").is_file():
            raise ConfigError(f"{folder}: no data.noun; fetch the wordnet-base package first")
        self._synsets = dict(read_data(folder / "data.noun"))
        self._senses = read_index(folder / "index.noun")
        self._used = read_uses(folder / "cntlist.rev", "1")

    @property
    def nouns(self) -> frozenset[str]:
        """Every noun and noun phrase, lower case, spaces for underscores."""
        return frozenset(self._senses)

    def synset(self, offset: int) -> Synset:
        """The sense at an offset of `data.noun`, such as those of hypernyms."""
        return self._synsets[offset]

    def below(self) -> dict[int, list[int]]:
        """For each offset, those of which it is the first hypernym, in order."""
        found: dict[int, list[int]] = {}
        for offset in sorted(self._synsets):
            for above in self._synsets[offset].hypernyms[:1]:
                found.setdefault(above, []).append(offset)
        return found

    def senses(self, noun: str) -> list[Synset]:
        """Senses of a noun, the most frequent first; a plain plural is looked up as its singular; empty if unknown."""
        return [self._synsets[offset] for offset in self.offsets(noun)]

    def offsets(self, noun: str) -> list[int]:
        """The offsets of `senses`."""
        for form in (noun, noun.removesuffix("s"), noun.removesuffix("es"), noun.removesuffix("ies") + "y"):
            if form in self._senses:
                return self._senses[form]
        return []

    def hypernyms(self, noun: str, depth: int = 4) -> list[str]:
        """What the first sense of `noun` is a kind of, nearest first, one word a level, without the most general."""
        senses = self.senses(noun)
        found: list[str] = []
        synset = senses[0] if senses else None
        while synset is not None and synset.hypernyms and len(found) < depth:
            synset = self._synsets[synset.hypernyms[0]]
            if _TOO_GENERAL.fullmatch(synset.words[0]):
                break
            found.append(synset.words[0])
        return found

    def frequent(self, count: int) -> list[str]:
        """The `count` plain nouns that WordNet's own text samples use most, most frequent first."""
        plain = [word for word in self._used if word.isalpha() and len(word) > 2 and word in self._senses]
        return sorted(plain, key=lambda word: (-self._used[word], word))[:count]


def read_data(path: Path) -> Iterator[tuple[int, Synset]]:
    """The synsets of a `data.noun` by their offsets."""
    for line in _lines(path):
        left, _, gloss = line.partition(" | ")
        fields = left.split()
        count = int(fields[3], 16)
        words = tuple(_plain(word) for word in fields[4 : 4 + 2 * count : 2])
        pointers = fields[5 + 2 * count :]
        above = [int(pointers[i + 1]) for i in range(0, len(pointers) - 1) if pointers[i] in ("@", "@i")]
        yield int(fields[0]), Synset(words, gloss.partition(";")[0].strip(), tuple(above))


def read_index(path: Path) -> dict[str, list[int]]:
    """The lemmas of an `index.POS`, each with the offsets of its synsets, the most frequent sense first."""
    found = {}
    for line in _lines(path):
        fields = line.split()
        found[_plain(fields[0])] = [int(offset) for offset in fields[-int(fields[2]) :]]
    return found


def read_uses(path: Path, types: str) -> Counter[str]:
    """How often WordNet's tagged texts use each lemma in senses of these ss_types, from `cntlist.rev`."""
    counts: Counter[str] = Counter()
    for line in _lines(path):
        key, _, uses = line.split()
        lemma, _, sense = key.partition("%")
        if sense[0] in types:
            counts[_plain(lemma)] += int(uses)
    return counts


def read_exceptions(path: Path) -> dict[str, list[str]]:
    """The irregular forms of a `POS.exc` with their base forms."""
    return {form: bases for form, *bases in (_plain_all(line) for line in _lines(path))}


def _plain_all(line: str) -> list[str]:
    return [_plain(word) for word in line.split()]


def _lines(path: Path) -> Iterator[str]:
    """The lines but those of the licence, which begin with a space."""
    return (line for line in path.read_text(encoding="latin-1").splitlines() if not line.startswith(" "))


def _plain(lemma: str) -> str:
    return lemma.replace("_", " ").lower()
