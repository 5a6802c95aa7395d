"""Owns the linking of images to exemplars of entities: a registry of instances, and CLIPPINGS.

Knows no gazetteer, and not where the exemplars came from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, EntityTag
from curator.entities.exemplars import Exemplars, Pool, pooled_with_captions, read_exemplars
from curator.entities.nearest import tags_near
from curator.entities.places import local_copy
from curator.errors import ConfigError
from curator.options import named, needed, number, unchanged, whole
from curator.storage.base import Storage


class RegistryAnnotator(Annotator):
    """The named instances whose mean image is near, best first; score: the cosine."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset({"exemplars", "threshold", "top_k", "exemplars_digest"})
    POOL: ClassVar[Pool] = "image"
    SOURCE: ClassVar[str] = "registry"
    WHAT: ClassVar[str] = "Instances of the registry that the image is near to; score: the cosine"

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        needed(spec, "threshold", "the least cosine of a link")
        number(spec, "threshold", None, low=-1.0, high=1.0)
        whole(spec, "top_k", 1)
        url = named(spec, "exemplars", "a file of `curator entities harvest`")
        exemplars = read_exemplars(local_copy(url, storage))
        if exemplars.pool != cls.POOL:
            raise ConfigError(
                f"{url}: exemplars of {exemplars.pool} vectors, and method {spec.method} compares {cls.POOL}; "
                f"harvest again with --pool {cls.POOL}"
            )
        return replace(spec, options={**spec.options, "exemplars_digest": exemplars.digest})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        return (ColumnSpec(spec.name, "entities", cls.WHAT),)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> RegistryAnnotator:
        url = str(spec.options["exemplars"])
        exemplars = read_exemplars(local_copy(url, means.storage, cache_dir=means.cache_dir))
        unchanged(spec, "exemplars", exemplars.digest)
        if exemplars.encoder_digest != means.encoder.digest:
            raise ConfigError(
                f"{url}: exemplars of an encoder with the digest {exemplars.encoder_digest[:12]}, and the run's has "
                f"{means.encoder.digest[:12]}; harvest them from a run of that encoder"
            )
        return cls(spec, means, exemplars)

    def __init__(self, spec: AnnotatorSpec, means: Means, exemplars: Exemplars) -> None:
        import torch

        super().__init__(spec, means.encoder)
        self._means = means
        self._exemplars = exemplars
        self._bank = torch.tensor(exemplars.vectors, device=means.encoder.device)
        self._threshold = float(spec.options["threshold"])
        self._top_k = whole(spec, "top_k", 1)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        queries = embeddings.vectors
        if self.POOL == "image+text":
            queries = pooled_with_captions(queries, embeddings.captions, self._means.texts)
        return {self.name: tags_near(queries, self._bank, self._top_k, self._threshold, self._tag)}

    def _tag(self, place: int, score: float) -> EntityTag:
        return EntityTag(self._exemplars.ids[place], self._exemplars.names[place], "", self.SOURCE, score)


class ClippingsAnnotator(RegistryAnnotator):
    """CLIPPINGS: the entities whose exemplar is nearest to the pooled vector of image and caption, within a cut-off.

    Source: Arora et al. 2023, "Linking Representations with Multimodal Contrastive Learning", arXiv 2304.03464.
    """

    POOL: ClassVar[Pool] = "image+text"
    SOURCE: ClassVar[str] = "clippings"
    WHAT: ClassVar[str] = "Entities whose exemplar is near to image and caption together; score: the cosine"
