"""All that describes the images of a run, of whichever room: label sets, free labels, entities, scores.

Reads their specs for the driver and opens them in a worker; knows no method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from curator.annotators import AnnotatorSpec, DeviceEncoder, Means, TextVectors, method_of
from curator.config import AnnotatorConfig, Config, LabelSetConfig, digest_of
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.entities import METHODS as ENTITIES
from curator.errors import ConfigError
from curator.free import METHODS as FREE
from curator.labels.heads import LabelSetSpec, head_columns, prepare_heads, read_spec
from curator.labels.templates import template_set
from curator.labels.vocabulary import Vocabulary
from curator.scores import METHODS as SCORES

if TYPE_CHECKING:
    from curator.annotators import Annotator
    from curator.storage import Storage

METHODS: Mapping[str, Mapping[str, type[Annotator]]] = {"free": FREE, "entities": ENTITIES, "scores": SCORES}


class Opened(Protocol):
    """What heads and annotators have in common once they are ready."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def columns(self) -> tuple[ColumnSpec, ...]: ...

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]: ...


@dataclass(frozen=True, slots=True)
class Annotations:
    """The specs of a run, with every file that they name read: picklable, for workers to open.

    ``others`` are those of the sections of ``METHODS``, each with the name of its section.
    """

    label_sets: tuple[LabelSetSpec, ...]
    others: tuple[tuple[str, AnnotatorSpec], ...]

    def __bool__(self) -> bool:
        return bool(self.label_sets or self.others)

    @property
    def names(self) -> tuple[str, ...]:
        return (*(spec.name for spec in self.label_sets), *(spec.name for _, spec in self.others))

    @property
    def columns(self) -> list[ColumnSpec]:
        """The columns that they will add to every row, known without an encoder."""
        heads = (head_columns(spec) for spec in self.label_sets)
        others = (METHODS[section][spec.method].columns_of(spec) for section, spec in self.others)
        return list(chain.from_iterable((*heads, *others)))

    @property
    def needs(self) -> frozenset[str]:
        """What of ``Embeddings`` only a run that reads images can give, as far as any of them needs it."""
        return frozenset[str]().union(*(METHODS[section][spec.method].NEEDS for section, spec in self.others))

    def shaping(self, settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What of them shapes rows: settings, and digests of what stood in files. ``settings`` are the label sets'."""
        sections: dict[str, list[dict[str, Any]]] = {}
        for section, spec in self.others:
            shape = {"name": spec.name, "method": spec.method, "options": digest_of(dict(spec.options))}
            sections.setdefault(section, []).append(shape)
        labels = [
            {
                **own,
                "vocabulary": spec.vocabulary.digest,
                "templates": digest_of(list(spec.templates)),
                "options": digest_of(dict(spec.options)),
                "abstain": digest_of(dict(spec.abstain)),
            }
            for own, spec in zip(settings, self.label_sets, strict=True)
        ]
        return {"labels": labels, **sections}

    def refuse_images(self) -> None:
        """ConfigError where one of them must see the images themselves, which a run over embeddings cannot show it."""
        for section, spec in self.others:
            needs = METHODS[section][spec.method].NEEDS
            if needs:
                raise ConfigError(
                    f"{section} {spec.name!r}: method {spec.method} needs {' and '.join(sorted(needs))} of the images, "
                    "which a relabelling run does not read; use it in `curator label`"
                )

    def provenance(self, opened: Sequence[Opened]) -> dict[str, str]:
        """What a footer says of them: ``vocabulary_digest.NAME`` of label sets, ``head_digest.NAME`` of all."""
        return {
            **{f"vocabulary_digest.{spec.name}": spec.vocabulary.digest for spec in self.label_sets},
            **{f"head_digest.{each.name}": each.digest for each in opened},
        }


def read_annotations(config: Config, storage: Storage) -> Annotations:
    """The config's label sets and annotators, read. ConfigError names the file and line at fault, or a name in use."""
    label_sets = tuple(_label_set(settings) for settings in config.labels)
    sections: dict[str, tuple[AnnotatorConfig, ...]] = {name: getattr(config, name) for name in METHODS}
    others = tuple(
        (section, _annotator(section, settings, storage)) for section, all_ in sections.items() for settings in all_
    )
    annotations = Annotations(label_sets, others)
    twice = sorted({name for name in annotations.names if annotations.names.count(name) > 1})
    if twice:
        raise ConfigError(f"two of the run's label sets and annotators are named {twice[0]!r}: give each its own name")
    return annotations


def _label_set(settings: LabelSetConfig) -> LabelSetSpec:
    return read_spec(
        LabelSetSpec(
            name=settings.name,
            vocabulary=Vocabulary.load(settings.vocabulary),
            templates=template_set(settings.templates),
            head=settings.head,
            family=settings.family,
            top_k=settings.top_k,
            min_score=settings.min_score,
            min_margin=settings.min_margin,
            options=settings.options,
            abstain=settings.abstain,
        )
    )


def _annotator(section: str, settings: AnnotatorConfig, storage: Storage) -> AnnotatorSpec:
    spec = AnnotatorSpec(settings.name, settings.method, settings.options)
    return method_of(spec, METHODS[section], section).read(spec, storage)


def open_annotations(
    annotations: Annotations, encoder: DeviceEncoder, storage: Storage, *, cache_dir: str | None, cores: int
) -> list[Opened]:
    """Every head and annotator of a run, ready to be called. Raises ConfigError."""
    heads = prepare_heads(annotations.label_sets, encoder, cache_dir=cache_dir)
    means = Means(encoder, TextVectors(encoder), storage, cache_dir, cores)
    others = [METHODS[section][spec.method].open(spec, means) for section, spec in annotations.others]
    return [*heads, *others]
