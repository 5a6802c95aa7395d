"""Owns entities without text: those of a gazetteer whose text is nearest to the image. Knows no caption."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, EntityTag, TextBank
from curator.entities.linking import entity_bank, gazetteer_digest, open_gazetteer
from curator.options import flag, needed, number, whole
from curator.storage.base import Storage


class NearestAnnotator(Annotator):
    """The entities nearest to the image in a bank of their texts, above a threshold; score: the cosine.

    The bank is made once per gazetteer and encoder, and kept in the cache.
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
        gazetteer = open_gazetteer(spec, means)
        bank = entity_bank(gazetteer, flag(spec, "descriptions", default=True), means)
        return cls(spec, means, bank)

    def __init__(self, spec: AnnotatorSpec, means: Means, bank: TextBank) -> None:
        super().__init__(spec, means.encoder)
        self._bank = replace(bank, vectors=bank.vectors.to(means.encoder.device))
        self._threshold = float(spec.options["threshold"])
        self._top_k = whole(spec, "top_k", 5)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        from curator.kernels.ranking import top_k

        scores, places = top_k(embeddings.vectors.float(), self._bank.vectors, self._top_k)
        ids, names = self._bank.ids, self._bank.names
        return {
            self.name: [
                [
                    EntityTag(ids[place], names[place], "", "nearest", score)
                    for score, place in zip(row, near, strict=True)
                    if score >= self._threshold
                ]
                for row, near in zip(scores.tolist(), places.tolist(), strict=True)
            ]
        }
