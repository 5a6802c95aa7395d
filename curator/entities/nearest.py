"""Owns entities without text: those of a gazetteer whose text is nearest to the image. Knows no caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, EntityTag
from curator.entities.gazetteer import Gazetteer
from curator.entities.linking import gazetteer_digest, open_gazetteer
from curator.entities.vectors import EntityVectors
from curator.options import flag, needed, number, whole
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor


class NearestAnnotator(Annotator):
    """The entities nearest to the image in a bank of their texts, above a threshold; score: the cosine.

    The vectors of all entities are made once per gazetteer, encoder and node, and kept in the cache.
    """

    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {"gazetteer", "threshold", "top_k", "descriptions", "gazetteer_digest"}
    )

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        needed(spec, "threshold", "the least cosine of an entity")
        number(spec, "threshold", None, low=-1.0, high=1.0)
        whole(spec, "top_k", 5)
        flag(spec, "descriptions", default=True)
        return replace(spec, options={**spec.options, "gazetteer_digest": gazetteer_digest(spec, storage)})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        return (ColumnSpec(spec.name, "entities", "Entities whose text is nearest to the image; score: the cosine"),)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> NearestAnnotator:
        return cls(spec, means, open_gazetteer(spec, means))

    def __init__(self, spec: AnnotatorSpec, means: Means, gazetteer: Gazetteer) -> None:
        super().__init__(spec, means.encoder)
        vectors = EntityVectors(gazetteer, means, descriptions=flag(spec, "descriptions", default=True))
        self._entity = vectors.entity
        self._bank = vectors.all()
        self._threshold = float(spec.options["threshold"])
        self._top_k = whole(spec, "top_k", 5)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        return {self.name: tags_near(embeddings.vectors, self._bank, self._top_k, self._threshold, self._tag)}

    def _tag(self, row: int, score: float) -> EntityTag:
        entity = self._entity(row)
        return EntityTag(entity.entity_id, entity.name, "", "nearest", score)


def tags_near(
    queries: Tensor, bank: Tensor, most: int, threshold: float, tag: Callable[[int, float], EntityTag]
) -> list[list[EntityTag]]:
    """For each of ``queries`` [B, D], best first, a tag of each of the ``most`` rows of ``bank`` from ``threshold`` on.

    ``tag`` makes one of a row and its cosine.
    """
    from curator.kernels.ranking import top_k

    scores, places = top_k(queries.float(), bank, most)
    return [
        [tag(place, score) for score, place in zip(row, near, strict=True) if score >= threshold]
        for row, near in zip(scores.tolist(), places.tolist(), strict=True)
    ]
