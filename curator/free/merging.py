"""Owns when free labels say the same (case, plural, synonym, nearness) and what vocabulary is left. Knows no run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curator.kernels.names import plain
from curator.kernels.plurals import singular_phrase
from curator.wordnet.lexicon import lexicon

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Concept:
    """One label with its variants: ``name`` is the most frequent of them, ``aliases`` are the others in that order."""

    name: str
    aliases: tuple[str, ...]
    count: int


def folded(label: str) -> str:
    """The form in which variants of a label are equal: lower case, ``_`` and ``-`` as spaces, last word singular."""
    return singular_phrase(plain(label))


def variants(counts: Mapping[str, int]) -> list[Concept]:
    """Labels that differ by case, separators or the plural become one, the most frequent first."""
    groups: dict[str, Counter[str]] = {}
    for label, count in counts.items():
        groups.setdefault(folded(label), Counter())[label] += count
    return _ranked(_concept(group) for group in groups.values())


def merge_synonyms(concepts: Sequence[Concept]) -> list[Concept]:
    """Concepts become one whose names have the same first sense in WordNet, the most frequent one of each."""
    words = lexicon()
    senses: dict[int, int] = {}
    joined = _Joined(len(concepts))
    for row, concept in enumerate(concepts):
        for synset in words.synsets(folded(concept.name))[:1]:
            joined.join(row, senses.setdefault(synset, row))
    return joined.merged(concepts)


def merge_near(concepts: Sequence[Concept], vectors: Tensor, threshold: float) -> list[Concept]:
    """Concepts become one that a chain of cosines above ``threshold`` connects; ``vectors`` [N, D] are of unit norm."""
    joined = _Joined(len(concepts))
    for start in range(0, len(concepts), _ROWS):
        near = (vectors[start : start + _ROWS] @ vectors.T > threshold).nonzero().tolist()
        for row, other in near:
            joined.join(start + row, other)
    return joined.merged(concepts)


def vocabulary_of(concepts: Sequence[Concept]) -> dict[str, list[dict[str, Any]]]:
    """The concepts as the content of a vocabulary file."""
    return {
        "labels": [
            {"name": concept.name, **({"aliases": list(concept.aliases)} if concept.aliases else {})}
            for concept in concepts
        ]
    }


class _Joined:
    """Which rows belong together, by chains of joins."""

    def __init__(self, rows: int) -> None:
        self._first = list(range(rows))

    def _root(self, row: int) -> int:
        while self._first[row] != row:
            self._first[row] = self._first[self._first[row]]
            row = self._first[row]
        return row

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self._first[high] = low

    def merged(self, concepts: Sequence[Concept]) -> list[Concept]:
        groups: dict[int, list[Concept]] = {}
        for row, concept in enumerate(concepts):
            groups.setdefault(self._root(row), []).append(concept)
        return _ranked(
            Concept(
                group[0].name,
                tuple(alias for each in group for alias in (each.name, *each.aliases))[1:],
                sum(each.count for each in group),
            )
            for group in (_ranked(each) for each in groups.values())
        )


def _concept(group: Counter[str]) -> Concept:
    names = sorted(group, key=lambda label: (-group[label], label))
    return Concept(names[0], tuple(names[1:]), group.total())


def _ranked(concepts: Any) -> list[Concept]:
    return sorted(concepts, key=lambda concept: (-concept.count, concept.name))
