"""Owns MOFI's image-to-entities: entities that a caption mentions, kept where the image agrees.

Source: MOFI (Wu et al. 2023, arXiv 2306.07952, section 2), with a gazetteer in place of its unpublished linker: a
mention means the candidate with the largest share * exp(beta * cosine), and stays when its cosine passes a threshold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, EntityTag
from curator.entities.gazetteer import Gazetteer
from curator.entities.linking import gazetteer_digest, open_gazetteer
from curator.entities.matching import Matcher
from curator.entities.ner import LABELS, open_ner
from curator.entities.vectors import EntityVectors
from curator.options import choice, fault, flag, number, text, texts, whole
from curator.storage.base import Storage

_THRESHOLDS = Path(__file__).with_name("thresholds.json")
_CAPTION, _NER = "caption", "ner"
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Candidates:
    """Mentions of a batch, in order of rows, and what each may mean.

    ``mentions`` are (row, mention as it stands in the caption, source). Candidate c belongs to the mention
    ``owner[c]`` and is the entity ``entity[c]`` (a row of the gazetteer) with ``share[c]``, or is known by
    name only (``entity`` -1), the name being the mention.
    """

    mentions: Sequence[tuple[int, str, str]]
    owner: Sequence[int]
    entity: Sequence[int]
    share: Sequence[float]


class MofiAnnotator(Annotator):
    """Entities of a caption that its image shows, with the cosine between them."""

    READS_CAPTIONS = True
    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {
            "gazetteer", "threshold", "keep", "beta", "descriptions", "max_caption_chars", "max_mentions",
            "most_candidates", "mentions", "ner", "ner_labels", "bank", "gazetteer_digest",
        }
    )  # fmt: skip

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        known = {"descriptions": Settings.of(spec).descriptions, "gazetteer_digest": gazetteer_digest(spec, storage)}
        return replace(spec, options={**spec.options, **known})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        tags = ColumnSpec(
            spec.name, "entities", "Entities that the caption mentions and the image shows; score: their cosine"
        )
        if not Settings.of(spec).mentions:
            return (tags,)
        what = "All entities that the caption mentions, whatever the image shows; score: their cosine"
        return (tags, ColumnSpec(f"{spec.name}_mentions", "entities", what))

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> MofiAnnotator:
        return cls(spec, means, open_gazetteer(spec, means))

    def __init__(self, spec: AnnotatorSpec, means: Means, gazetteer: Gazetteer) -> None:
        settings = Settings.of(spec)
        if settings.threshold is None:
            settings = replace(settings, threshold=default_threshold(spec, means.encoder.digest, settings))
        spec = replace(spec, options={**spec.options, "threshold": settings.threshold})
        super().__init__(spec, means.encoder)
        self._settings = settings
        self._beta = means.encoder.logit_scale if settings.beta is None else settings.beta
        self._gazetteer = gazetteer
        self._match = Matcher(gazetteer)
        self._ner = None
        if settings.ner is not None:
            self._ner = open_ner(settings.ner, settings.ner_labels, means.encoder.device)
        self._vectors = EntityVectors(gazetteer, means, descriptions=settings.descriptions)
        if settings.bank:
            self._vectors.fill()
        self._texts = means.texts

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        rows = len(embeddings.captions)
        tags: list[list[EntityTag]] = [[] for _ in range(rows)]
        found = self.candidates(embeddings.captions)
        if found.mentions:
            chosen, cosines = self._chosen(found, embeddings)
            for (row, mention, source), entity, cosine in zip(found.mentions, chosen, cosines.tolist(), strict=True):
                tags[row].append(self._tag(entity, mention, source, cosine))
        verified: ColumnValues = [self._verified(own) for own in tags]
        if not self._settings.mentions:
            return {self.name: verified}
        return {self.name: verified, f"{self.name}_mentions": tags}

    def candidates(self, captions: Sequence[str | None]) -> Candidates:
        """What the captions mention, and which entities each mention may be."""
        settings = self._settings
        mentions: list[tuple[int, str, str]] = []
        owner: list[int] = []
        entity: list[int] = []
        share: list[float] = []
        cut = [caption[: settings.max_caption_chars] if caption else "" for caption in captions]
        recognised = self._ner(cut) if self._ner is not None else [[] for _ in cut]
        for row, caption in enumerate(cut):
            found = self._match(caption)[: settings.max_mentions] if caption else []
            spans = [(start, end, _CAPTION, self._gazetteer.candidates(alias)) for start, end, alias in found]
            for start, end in recognised[row]:
                if len(spans) < settings.max_mentions and all(end <= other[0] or start >= other[1] for other in spans):
                    known = self._gazetteer.find(caption[start:end])
                    spans.append((start, end, _NER, known or [(_UNKNOWN, 1.0)]))
            for start, end, source, meanings in spans:
                for meaning, part in meanings[: settings.most_candidates]:
                    owner.append(len(mentions))
                    entity.append(meaning)
                    share.append(part)
                mentions.append((row, caption[start:end], source))
        return Candidates(mentions, owner, entity, share)

    def _chosen(self, found: Candidates, embeddings: Embeddings) -> tuple[list[int], NDArray[np.float32]]:
        """The entity of each mention, and its cosine with the image: float32 [mentions]."""
        import torch

        from curator.kernels.entities import likeliest

        known = {entity: place for place, entity in enumerate(dict.fromkeys(e for e in found.entity if e != _UNKNOWN))}
        unknown = [
            found.mentions[mention][1]
            for mention, entity in zip(found.owner, found.entity, strict=True)
            if entity == _UNKNOWN
        ]
        names = {name: len(known) + place for place, name in enumerate(dict.fromkeys(unknown))}
        vectors = self._vectors(list(known))
        if names:
            vectors = torch.cat([vectors, self._texts(list(names))])
        images = embeddings.vectors
        owners = torch.tensor(found.owner, device=images.device)
        rows = torch.tensor([found.mentions[mention][0] for mention in found.owner], device=images.device)
        places = [
            names[found.mentions[mention][1]] if entity == _UNKNOWN else known[entity]
            for mention, entity in zip(found.owner, found.entity, strict=True)
        ]
        # Pair by pair: a product of matrices is rounded in another way in every batch.
        cosines = (images.float()[rows] * vectors[torch.tensor(places, device=images.device)]).sum(dim=1)
        shares = torch.tensor(found.share, device=images.device)
        winners = likeliest(shares, cosines, owners, len(found.mentions), self._beta)
        chosen = [found.entity[winner] for winner in winners.tolist()]
        return chosen, cosines[winners].cpu().numpy()

    def _tag(self, entity: int, mention: str, source: str, cosine: float) -> EntityTag:
        if entity == _UNKNOWN:
            return EntityTag("", mention, mention, source, cosine)
        known = self._vectors.entity(entity)
        return EntityTag(known.entity_id, known.name, mention, source, cosine)

    def _verified(self, tags: Sequence[EntityTag]) -> list[EntityTag]:
        """The tags that the threshold lets pass, each entity once, best first; one of them where the best is asked."""
        threshold = self._settings.threshold
        kept: dict[tuple[str, str], EntityTag] = {}
        for tag in sorted(tags, key=lambda tag: -tag.score):
            if threshold is None or tag.score >= threshold:
                kept.setdefault((tag.entity_id, tag.name), tag)
        best = list(kept.values())
        return best[:1] if self._settings.keep == "best" else best


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one annotator, read; ``threshold`` and ``beta`` may be left to the encoder."""

    threshold: float | None
    keep: str
    beta: float | None
    descriptions: bool
    max_caption_chars: int
    max_mentions: int
    most_candidates: int
    mentions: bool
    ner: str | None
    ner_labels: tuple[str, ...]
    bank: bool

    @classmethod
    def of(cls, spec: AnnotatorSpec) -> Settings:
        return cls(
            threshold=number(spec, "threshold", None, low=-1.0, high=1.0),
            keep=choice(spec, "keep", "all", ("all", "best")),
            beta=number(spec, "beta", None, low=0.0, high=1e4),
            descriptions=flag(spec, "descriptions", default=False),
            max_caption_chars=whole(spec, "max_caption_chars", 2000),
            max_mentions=whole(spec, "max_mentions", 32),
            most_candidates=whole(spec, "most_candidates", 4),
            mentions=flag(spec, "mentions", default=False),
            ner=text(spec, "ner", None),
            ner_labels=texts(spec, "ner_labels", LABELS),
            bank=flag(spec, "bank", default=False),
        )


def default_threshold(spec: AnnotatorSpec, encoder_digest: str, settings: Settings) -> float | None:
    """The calibrated threshold of an encoder; None (no threshold) where only the best entity is kept.

    ConfigError for an encoder that was not calibrated: cosines of one encoder say nothing of another's.
    """
    if settings.keep == "best":
        return None
    known: dict[str, Any] = json.loads(_THRESHOLDS.read_text(encoding="utf-8"))
    if encoder_digest not in known:
        raise fault(
            spec,
            f"no threshold is known for the encoder {encoder_digest[:12]}; measure one with "
            "`curator entities calibrate` and give it as the option 'threshold', or keep only the 'best'",
        )
    return float(known[encoder_digest]["descriptions" if settings.descriptions else "names"])
