"""Owns what the methods that read a gazetteer share: which file it is, and the vectors of its entities' texts.

Knows no caption and no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from curator.annotators import AnnotatorSpec, Means, TextVectors
from curator.data import TextBank
from curator.entities.gazetteer import Entity, Gazetteer, check, facts_at_head
from curator.entities.places import local_copy
from curator.errors import ConfigError, NotFoundError
from curator.labels.banks import build_bank
from curator.labels.vocabulary import Label, Vocabulary
from curator.options import named, unchanged
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_HEAD_BYTES = 1 << 20
_ENTITIES_KEPT = 1 << 16


def gazetteer_digest(spec: AnnotatorSpec, storage: Storage) -> str:
    """The digest of the file that the option ``gazetteer`` names, from its head. ConfigError where there is none."""
    url = named(spec, "gazetteer", "a file of `curator gazetteer build`")
    try:
        stream = storage.open(url, length=_HEAD_BYTES)
    except NotFoundError as error:
        raise ConfigError(f"{url}: no gazetteer here; make one with `curator gazetteer build`") from error
    try:
        head = b""
        while block := stream.read(_HEAD_BYTES):
            head += block
    finally:
        stream.close()
    return str(facts_at_head(head, url)["digest"])


def open_gazetteer(spec: AnnotatorSpec, means: Means) -> Gazetteer:
    """The gazetteer that the driver saw. ConfigError where it is another one by now."""
    url = str(spec.options["gazetteer"])
    gazetteer = Gazetteer.open(local_copy(url, means.storage, cache_dir=means.cache_dir, check=check))
    unchanged(spec, "gazetteer", gazetteer.digest)
    return gazetteer


def entity_texts(entity: Entity, descriptions: bool) -> tuple[str, ...]:
    """The texts whose mean stands for an entity: its name, and the name with its description where it has one."""
    if descriptions and entity.description:
        return (entity.name, f"{entity.name}, {entity.description}")
    return (entity.name,)


def entity_bank(gazetteer: Gazetteer, descriptions: bool, means: Means) -> TextBank:
    """The vectors of all entities: the mean of those of ``entity_texts``. Made once, and kept in the cache."""
    labels = []
    for row in range(len(gazetteer)):
        entity = gazetteer.entity(row)
        name, *more = entity_texts(entity, descriptions)
        labels.append(Label(entity.entity_id, name, tuple(more)))
    return build_bank(Vocabulary(tuple(labels)), ("{}",), means.encoder, cache_dir=means.cache_dir)


class EntityTexts:
    """Unit vectors of entities by their rows in a gazetteer: of a bank of all, or from the run's cache of texts."""

    def __init__(
        self, gazetteer: Gazetteer, texts: TextVectors, *, descriptions: bool, bank: Tensor | None = None
    ) -> None:
        self.entity = lru_cache(maxsize=_ENTITIES_KEPT)(gazetteer.entity)
        self._texts = texts
        self._descriptions = descriptions
        self._bank = bank

    def __call__(self, rows: Sequence[int], names: Sequence[str] = ()) -> Tensor:
        """Float32 [len(rows) + len(names), D]: of entities, then of things that only have a name."""
        import torch

        from curator.kernels.entities import described

        if self._bank is not None:
            known = self._bank[torch.tensor(rows, dtype=torch.int64, device=self._bank.device)]
            return torch.cat([known, self._texts(names)]) if names else known
        texts = [entity_texts(self.entity(row), self._descriptions) for row in rows]
        texts += [(name,) for name in names]
        both = [each[0] for each in texts] + [each[-1] for each in texts]
        order = sorted(range(len(both)), key=lambda place: len(both[place]))  # texts encoded together are padded alike
        vectors = self._texts([both[place] for place in order])
        vectors = vectors[torch.tensor(order, dtype=torch.int64, device=vectors.device).argsort()]
        return described(vectors[: len(texts)], vectors[len(texts) :])
