"""Own the order of training: which entities share a step, which two pictures show each, and the text pairs of nouns.

It refuses to know the model and the loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.training.captions import Concepts, phrase
from curator.training.corpus import Corpus
from curator.training.recipe import Recipe
from curator.wordnet.files import WordNet


@dataclass(frozen=True)
class Step:
    """Rows of the training pictures [2B] (two views per entity, adjacent) and the entity of each row [2B]."""

    rows: npt.NDArray[np.int64]
    entities: npt.NDArray[np.int64]


class Schedule:
    """Steps of an epoch, the same for the same epoch and seed whenever and however often they are asked for."""

    def __init__(self, corpus: Corpus, concepts: Concepts, recipe: Recipe) -> None:
        """Pictures of entities without any name are left out."""
        self._recipe = recipe
        number = {code: row for row, code in enumerate(concepts.codes)}
        self._rows: dict[int, list[int]] = defaultdict(list)
        self._emoji: list[int] = []
        titles: dict[int, list[int]] = defaultdict(list)
        for row, (code, design) in enumerate(zip(corpus.train.entities, corpus.train.designs, strict=True)):
            entity = number[code]
            if not len(concepts.names[entity]):
                continue
            if not self._rows[entity]:
                if design == "openclipart":
                    titles[int(concepts.names[entity][0])].append(entity)
                else:
                    self._emoji.append(entity)
            self._rows[entity].append(row)
        self._titles = list(titles.values())

    def __len__(self) -> int:
        """Steps of one epoch."""
        clipart = sum(min(len(group), self._recipe.max_same_title) for group in self._titles)
        return (len(self._emoji) * self._recipe.emoji_passes + clipart) // self._recipe.batch_entities

    def epoch(self, epoch: int) -> Iterator[Step]:
        """The steps of one epoch, entities in a fresh order."""
        rng = np.random.default_rng((self._recipe.seed, epoch))
        order = [rng.permutation(self._emoji) for _ in range(self._recipe.emoji_passes)]
        some = [rng.permutation(group)[: self._recipe.max_same_title] for group in self._titles]
        clipart = rng.permutation(np.concatenate(some)) if some else np.array([], dtype=np.int64)
        passes = [*np.array_split(clipart, len(order))]
        mixed = np.concatenate([rng.permutation(np.concatenate(pair)) for pair in zip(order, passes, strict=True)])
        size = self._recipe.batch_entities
        for step in range(len(self)):
            entities = mixed[step * size : (step + 1) * size].astype(np.int64)
            pairs = [self._two(self._rows[int(entity)], rng) for entity in entities]
            yield Step(np.array(pairs, dtype=np.int64).reshape(-1), np.repeat(entities, 2))

    @staticmethod
    def _two(rows: list[int], rng: np.random.Generator) -> tuple[int, int]:
        """Two pictures of different designs where there are two, else the same picture twice."""
        if len(rows) == 1:
            return rows[0], rows[0]
        first, second = rng.choice(len(rows), size=2, replace=False)
        return rows[int(first)], rows[int(second)]


class NounPairs:
    """Pairs of texts that mean nearly the same: a noun, and its definition or what it is a kind of."""

    def __init__(self, wordnet: WordNet, concepts: Concepts, frequent: int = 6000) -> None:
        """Nouns are the frequent ones of WordNet and every word of the corpus that WordNet knows."""
        nouns = dict.fromkeys([*wordnet.frequent(frequent), *concepts.words])
        self._pairs: list[tuple[str, list[str]]] = []
        for noun in nouns:
            senses = wordnet.senses(noun)
            if senses:
                others = [word for word in senses[0].words if word != noun]
                self._pairs.append((noun, [senses[0].gloss[:120], *wordnet.hypernyms(noun, 2), *others[:2]]))

    def __len__(self) -> int:
        return len(self._pairs)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[list[str], list[str], npt.NDArray[np.bool_]]:
        """Texts of nouns [N], texts of their counterparts [N], and which of them go together, bool [N, N]."""
        chosen = [self._pairs[int(row)] for row in rng.choice(len(self._pairs), size=count, replace=False)]
        meanings = [meanings[int(rng.integers(len(meanings)))] for _, meanings in chosen]
        allowed = np.array([[meaning in pair[1] or meaning == pair[0] for meaning in meanings] for pair in chosen])
        return [phrase(noun, rng) for noun, _ in chosen], meanings, allowed
