"""Own what is said about a picture: the concepts that an entity has and the sentences that carry one concept each.

A caption is a prompt filled with one concept, and it is true of every entity that has the concept; the loss needs to
know exactly that. It refuses to know pixels and tensors of pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.training.corpus import Entity

TEMPLATES = (
    "{}",
    "{}",
    "a picture of {}",
    "a photo of a {}.",
    "a photo of the {}.",
    "an image of {}",
    "an emoji of {}",
    "{} emoji",
    "an icon of a {}",
    "a drawing of a {}",
    "a cartoon {}",
    "clip art of a {}",
    "an illustration of a {}.",
    "a rendering of a {}.",
    "the {} symbol",
)
"""Prompt templates of training captions; the bare concept stands twice on purpose."""

NAME, KEYWORD, KIND, LIST = range(4)
_SHARES = (0.62, 0.10, 0.10, 0.18)
"""How often the caption of one view is a name, a keyword, a kind, or a list of a name and keywords."""


@dataclass(frozen=True)
class Concepts:
    """`held` is bool [E, C]: entity E has concept C. The last E concepts are private, one per entity, for lists."""

    codes: tuple[str, ...]
    words: tuple[str, ...]
    held: npt.NDArray[np.bool_]
    names: tuple[npt.NDArray[np.int64], ...]
    keywords: tuple[npt.NDArray[np.int64], ...]
    kinds: tuple[npt.NDArray[np.int64], ...]

    def private(self, entity: int) -> int:
        """The concept that only this entity has."""
        return len(self.words) + entity


@dataclass(frozen=True)
class Captions:
    """`texts` and, for each of them, the concept (a column of `Concepts.held`) that it carries."""

    texts: list[str]
    concepts: npt.NDArray[np.int64]


def gather(entities: Sequence[Entity]) -> Concepts:
    """Concepts of all entities; words that two entities share, under any heading, are one concept."""
    index: dict[str, int] = {}

    def numbers(words: Iterable[str]) -> npt.NDArray[np.int64]:
        return np.array([index.setdefault(word, len(index)) for word in words], dtype=np.int64)

    names = tuple(numbers(entity.names) for entity in entities)
    keywords = tuple(numbers(entity.keywords) for entity in entities)
    kinds = tuple(numbers(entity.kinds) for entity in entities)
    held = np.zeros((len(entities), len(index) + len(entities)), dtype=np.bool_)
    for row, groups in enumerate(zip(names, keywords, kinds, strict=True)):
        for group in groups:
            held[row, group] = True
        held[row, len(index) + row] = True
    return Concepts(tuple(entity.code for entity in entities), tuple(index), held, names, keywords, kinds)


def caption(concepts: Concepts, entity: int, rng: np.random.Generator) -> tuple[str, int]:
    """One caption of an entity and its concept: a name, a keyword, a kind, or a name with keywords."""
    kind = int(rng.choice(4, p=_SHARES))
    pools = {NAME: concepts.names, KEYWORD: concepts.keywords, KIND: concepts.kinds}
    if kind == LIST and len(concepts.keywords[entity]):
        keywords = concepts.keywords[entity]
        some = rng.permutation(keywords)[: int(rng.integers(1, 4))]
        words = [concepts.words[pick(concepts.names[entity], rng)], *(concepts.words[number] for number in some)]
        text = ", ".join(words) if rng.random() < 0.7 else f"{words[0]} with {' and '.join(words[1:])}"
        return text, concepts.private(entity)
    pool = pools[NAME if kind == LIST else kind][entity]
    if not len(pool):
        pool = concepts.names[entity]
    concept = pick(pool, rng)
    return phrase(concepts.words[concept], rng), concept


def pick(pool: npt.NDArray[np.int64], rng: np.random.Generator) -> int:
    """One member; the first ones, which are the better names and the nearer kinds, come more often."""
    return int(
        pool[min(int(rng.exponential(1.5)), len(pool) - 1) if rng.random() < 0.6 else int(rng.integers(len(pool)))]
    )


def phrase(word: str, rng: np.random.Generator) -> str:
    """The word in a random template."""
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(word)


def kind_captions(concepts: Concepts, entities: Sequence[int], count: int, rng: np.random.Generator) -> Captions:
    """`count` captions over kinds and keywords of the given entities, each concept once where there are enough."""
    pools = [np.concatenate([concepts.kinds[e], concepts.keywords[e][:2]]) for e in entities]
    present, frequency = np.unique(np.concatenate(pools), return_counts=True)
    share = np.sqrt(frequency) / np.sqrt(frequency).sum()
    chosen = rng.choice(present, size=count, replace=len(present) < count, p=share)
    return Captions([phrase(concepts.words[number], rng) for number in chosen], chosen.astype(np.int64))


def view_captions(concepts: Concepts, entities: Sequence[int], rng: np.random.Generator) -> Captions:
    """One caption for each given entity, in order."""
    pairs = [caption(concepts, entity, rng) for entity in entities]
    return Captions([text for text, _ in pairs], np.array([concept for _, concept in pairs], dtype=np.int64))
