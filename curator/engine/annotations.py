"""All that describes the images of a run, of whichever room: label sets, free labels, entities, scores.

Reads their specs for the driver and opens them in a worker; knows no method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from curator.annotators import AnnotatorSpec, DeviceEncoder, Means, TextVectors, method_of, stated
from curator.config import AnnotatorConfig, Config, LabelSetConfig, digest_of
from curator.data import ColumnSpec
from curator.engine.encoders import Further, FurtherEncoder, Opened, embedding_column, further_provenance
from curator.entities import METHODS as ENTITIES
from curator.errors import ConfigError, nearest
from curator.free import METHODS as FREE
from curator.labels.heads import LabelSetSpec, head_columns, prepare_heads, read_spec
from curator.labels.templates import template_set
from curator.labels.vocabulary import Vocabulary
from curator.scores import METHODS as SCORES

if TYPE_CHECKING:
    from curator.annotators import Annotator
    from curator.storage import Storage

_SHOWN = 100  # characters
METHODS: Mapping[str, Mapping[str, type[Annotator]]] = {"free": FREE, "entities": ENTITIES, "scores": SCORES}


@dataclass(frozen=True, slots=True)
class Annotations:
    """The specs of a run, with every file that they name read: picklable, for workers to open.

    ``others`` are those of the sections of ``METHODS``, each with the name of its section. ``encoders`` are the names
    of further encoders, ``scored_by`` says which of them scores what, by name; what it lacks the run's own scores.
    """

    label_sets: tuple[LabelSetSpec, ...]
    others: tuple[tuple[str, AnnotatorSpec], ...]
    encoders: tuple[str, ...] = ()
    scored_by: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.label_sets or self.others)

    @property
    def used_encoders(self) -> tuple[str, ...]:
        """The further encoders that score something."""
        return tuple(name for name in self.encoders if name in self.scored_by.values())

    @property
    def names(self) -> tuple[str, ...]:
        return (*(spec.name for spec in self.label_sets), *(spec.name for _, spec in self.others))

    @property
    def columns(self) -> list[ColumnSpec]:
        """The columns that they will add to every row, known without an encoder (but for the size of vectors)."""
        embeddings = ([embedding_column(name)] for name in self.encoders)
        heads = (head_columns(spec) for spec in self.label_sets)
        others = (METHODS[section][spec.method].columns_of(spec) for section, spec in self.others)
        return list(chain.from_iterable((*embeddings, *heads, *others)))

    @property
    def needs(self) -> frozenset[str]:
        """What of ``Embeddings`` only a run that reads images can give, as far as any of them needs it."""
        return frozenset[str]().union(*(METHODS[section][spec.method].NEEDS for section, spec in self.others))

    @property
    def readers_of_captions(self) -> list[str]:
        """The names of those that say nothing of a sample without a caption."""
        return [spec.name for section, spec in self.others if METHODS[section][spec.method].READS_CAPTIONS]

    def shaping(self, settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What of them shapes rows: settings, and digests of what stood in files. ``settings`` are the label sets'."""
        sections: dict[str, list[dict[str, Any]]] = {}
        for section, spec in self.others:
            shape = {"name": spec.name, "method": spec.method, "options": _shown(stated(spec.options))}
            if spec.name in self.scored_by:
                shape["encoder"] = self.scored_by[spec.name]
            sections.setdefault(section, []).append(shape)
        labels = [
            {
                **own,
                "vocabulary": spec.vocabulary.digest,
                "templates": digest_of(list(spec.templates)),
                "options": _shown(spec.options),
                "abstain": _shown(spec.abstain),
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
        """What a footer says of them: ``vocabulary_digest.NAME`` of label sets, of all ``head_digest.NAME`` and what
        made them, ``made_by.NAME`` (the section of the config and the method).
        """
        return {
            **{f"made_by.{spec.name}": f"labels.{spec.head}" for spec in self.label_sets},
            **{f"made_by.{spec.name}": f"{section}.{spec.method}" for section, spec in self.others},
            **{f"vocabulary_digest.{spec.name}": spec.vocabulary.digest for spec in self.label_sets},
            **{f"head_digest.{each.name}": each.digest for each in scorers_of(opened)},
            **further_provenance(opened),
        }


def read_annotations(config: Config, storage: Storage) -> Annotations:
    """The config's label sets and annotators, read. ConfigError names the file and line at fault, or a name in use."""
    label_sets = tuple(_label_set(settings, storage) for settings in config.labels)
    sections: dict[str, tuple[AnnotatorConfig, ...]] = {name: getattr(config, name) for name in METHODS}
    others = tuple(
        (section, _annotator(section, settings, storage)) for section, all_ in sections.items() for settings in all_
    )
    named: list[LabelSetConfig | AnnotatorConfig] = [*config.labels, *chain.from_iterable(sections.values())]
    names = [*(each.name for each in named), *(each.name for each in config.encoders)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two of the run's label sets and annotators are named {twice[0]!r}: give each its own name")
    encoders = tuple(each.name for each in config.encoders)
    for each in named:
        if each.encoder and each.encoder not in encoders:
            raise ConfigError(
                f"{each.name!r}: encoder {each.encoder!r} is none of [[encoders]]; {nearest(each.encoder, encoders)}"
            )
    return Annotations(label_sets, others, encoders, {each.name: each.encoder for each in named if each.encoder})


def _shown(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they shape rows and as a person can compare them; what is long by its digest."""
    return {
        key: value if isinstance(value, (str, int, float, bool)) and len(str(value)) <= _SHOWN else digest_of(value)
        for key, value in options.items()
    }


def _label_set(settings: LabelSetConfig, storage: Storage) -> LabelSetSpec:
    return read_spec(
        LabelSetSpec(
            name=settings.name,
            vocabulary=Vocabulary.load(settings.vocabulary, storage),
            templates=template_set(settings.templates, storage),
            head=settings.head,
            family=settings.family,
            top_k=settings.top_k,
            min_score=settings.min_score,
            min_margin=settings.min_margin,
            options=settings.options,
            abstain=settings.abstain,
        ),
        storage,
    )


def _annotator(section: str, settings: AnnotatorConfig, storage: Storage) -> AnnotatorSpec:
    spec = AnnotatorSpec(settings.name, settings.method, settings.options)
    return method_of(spec, METHODS[section], section).read(spec, storage)


def open_annotations(
    annotations: Annotations,
    encoder: DeviceEncoder,
    storage: Storage,
    *,
    cache_dir: str | None,
    cores: int,
    further: Mapping[str, FurtherEncoder] = MappingProxyType({}),
    embeds: bool = True,
) -> list[Opened]:
    """Every head and annotator of a run, ready to be called: those of ``encoder``, then the ``further`` ones by name.

    ``embeds``: further encoders embed pixels; otherwise their vectors are given. Raises ConfigError.
    """

    def scorers(name: str, own: DeviceEncoder) -> list[Opened]:
        by = annotations.scored_by
        label_sets = [spec for spec in annotations.label_sets if by.get(spec.name, "") == name]
        heads = prepare_heads(label_sets, own, cache_dir=cache_dir)
        means = Means(own, TextVectors(own), storage, cache_dir, cores)
        others = [
            METHODS[section][spec.method].open(spec, means)
            for section, spec in annotations.others
            if by.get(spec.name, "") == name
        ]
        return [*heads, *others]

    return [
        *scorers("", encoder),
        *(Further(name, other, scorers(name, other), embeds=embeds) for name, other in further.items()),
    ]


def scorers_of(opened: Sequence[Opened]) -> list[Opened]:
    """All heads and annotators, those of further encoders among them."""
    return [each for one in opened for each in (one.scorers if isinstance(one, Further) else (one,))]
