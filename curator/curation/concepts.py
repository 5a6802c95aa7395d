"""Concept frequency of a run: what is asked for, what may be counted, and the tables that are left. Counts nothing.

Source: Udandarao et al. 2024, "No Zero-Shot Without Exponential Data"; entries and captions are counted alongside.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from curator.config import Config
from curator.curation.counting import CountPlan, concept_texts, count, done_counts, plan_count
from curator.curation.counts import CAPTION, NGRAM, PICTURE, Counting
from curator.curation.frequencies import (
    concept_table,
    entry_json,
    entry_table,
    rows_of,
    small_sections,
    totals_of,
    write_digests,
    write_table,
)
from curator.curation.long_tail import draw_long_tail
from curator.engine.compose import storage_of
from curator.engine.fleet import Fleet
from curator.engine.ledger import Ledger
from curator.engine.progress import Progress, Summary
from curator.engine.run import ignore_progress
from curator.errors import ConfigError
from curator.labels.vocabulary import Vocabulary
from curator.storage import Storage, join
from curator.tables.readers import Part, parts
from curator.tables.schema import field_kind

COUNTED_KINDS = ("labels", "entities", "strings")


@dataclass(frozen=True)
class Request:
    """What a user asks of a run. ``concepts`` is a vocabulary file or the name of one of the run's label sets.

    ``images`` is the column whose labels say what an image shows (default: that label set, else the run's only one; ""
    counts texts alone); ``columns`` are counted entry by entry; with ``ngrams`` words and pairs of words are,
    too. ``rare``, ``t`` and ``tail`` shape the tables, not the counts; ``tail``, the share of matches of entries rarer
    than ``t``, takes its place.
    """

    concepts: str | None = None
    images: str | None = None
    min_score: float = 0.0
    rule: Literal["words", "phrase"] = "words"
    columns: tuple[str, ...] = ()
    ngrams: bool = False
    rare: int = 100
    t: float = 20_000
    tail: float | None = None
    plot: bool = False


@dataclass(frozen=True)
class Frequencies:
    """What a job left: its summary, the totals of the run, the tables by name, MetaCLIP's limit of each and urls."""

    summary: Summary
    totals: Mapping[str, int] = field(default_factory=dict)
    concepts: pa.Table | None = None
    entries: Mapping[str, pa.Table] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    written: tuple[str, ...] = ()

    @property
    def misalignment(self) -> float | None:
        """Share of captioned rows whose caption and image have no concept in common; None where nothing is known."""
        captioned = self.totals.get("captioned", 0)
        if self.concepts is None or not captioned or "with_image" not in self.totals:
            return None
        return 1 - self.totals.get("aligned", 0) / captioned

    @property
    def misalignment_of_named(self) -> float | None:
        """The same share of the rows whose caption names a concept: what a small vocabulary does not blur."""
        named = self.totals.get("with_text", 0)
        if self.misalignment is None or not named:
            return None
        return 1 - self.totals["aligned"] / named


def concept_frequencies(
    config: Config,
    request: Request,
    *,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    fleet: Callable[[CountPlan, Storage], Fleet] | None = None,
    storage: Storage | None = None,
) -> Frequencies:
    """Count ``config.input.run`` and write the tables to ``config.output.url``; see ``counting.count`` for resuming.

    Tables are written when all parts are counted, each in one step, ``totals.json`` last: they are always of one state
    of the run. ConfigError where the request does not fit the run.
    """
    storage = storage or storage_of(config)
    counting = read_request(config, request, storage)
    plan = plan_count(config, counting, storage)
    made = fleet(plan, storage) if fleet else None
    summary = count(plan, storage, observe=observe, stop=stop, fleet=made)
    if summary.status != "complete":
        return Frequencies(summary)
    return _write(config.output.url, plan, request, summary, storage)


def read_request(config: Config, request: Request, storage: Storage) -> Counting:
    """The request against the run: its vocabulary read, its columns found. ConfigError says what there is instead."""
    source = config.input.run.rstrip("/")
    run = Ledger(storage, source).begun()
    kinds = _kinds(source, storage)
    columns = request.columns
    for name in columns:
        if kinds.get(name) not in COUNTED_KINDS:
            known = [name for name, kind in kinds.items() if kind in COUNTED_KINDS]
            raise ConfigError(f"{source}: has no column {name!r} with entries to count; there are {', '.join(known)}")
    if request.concepts is None:
        if request.plot:
            raise ConfigError("--plot draws how often concepts occur: name them by --concepts FILE|LABELSET")
        return Counting(columns=columns, ngrams=request.ngrams)
    label_sets = {each["name"]: each for each in run["settings"].get("labels", ())}
    named = label_sets.get(request.concepts)
    if named is None and kinds.get(request.concepts) == "labels":
        raise ConfigError(
            f"label set {request.concepts!r} was made before {source}, which does not know its vocabulary; give "
            f"--concepts FILE --images {request.concepts}"
        )
    vocabulary = Vocabulary.load(named["vocabulary"] if named else request.concepts)
    recorded = run["digests"].get(f"vocabulary_digest.{request.concepts}") if named else None
    if recorded not in (None, vocabulary.digest):
        raise ConfigError(
            f"label set {request.concepts!r}: its vocabulary {named['vocabulary'] if named else ''} is not what it was "
            "when the run was made; give the old file with --concepts FILE --images COLUMN"
        )
    counting = Counting(
        concepts=tuple((label.id, label.name, label.aliases) for label in vocabulary.labels),
        images_column=_images(request, kinds, source, is_label_set=named is not None),
        min_score=request.min_score,
        rule=request.rule,
        columns=columns,
        ngrams=request.ngrams,
    )
    concept_texts(counting)
    return counting


def _images(request: Request, kinds: Mapping[str, str], source: str, *, is_label_set: bool) -> str | None:
    known = [name for name, kind in kinds.items() if kind in ("labels", "entities")]
    name = request.images
    if name is None:
        if is_label_set:
            name = request.concepts
        elif len(known) == 1:
            name = known[0]
        else:
            raise ConfigError(f"{source}: which column says what images show? give --images, one of {', '.join(known)}")
    if name and name not in known:
        raise ConfigError(f"{source}: has no labels in a column {name!r}; there are {', '.join(known) or 'none'}")
    return name or None


def _kinds(source: str, storage: Storage) -> dict[str, str]:
    """The annotation columns of a run with their kinds, from its first part."""
    first = next(parts(source, storage), None)
    if first is None:
        raise ConfigError(f"{source}: holds no part-*.parquet; finish the run first")
    with Part(first, storage) as part:
        return {column.name: field_kind(column) for column in part.schema if field_kind(column)}


def _write(output: str, plan: CountPlan, request: Request, summary: Summary, storage: Storage) -> Frequencies:
    storage.delete(join(output, "totals.json"))  # what stands here is no longer of one state
    counting = plan.counting

    def tables() -> Any:
        return done_counts(plan, storage)

    counts = small_sections(tables)
    totals = totals_of(counts, counting)
    footer = {"run": plan.config.input.run, "config_digest": plan.config_digest, "samples": str(totals["samples"])}
    written, different = [], {}
    concepts = None
    if counting.concepts:
        concepts = concept_table(counts, counting, request.rare)
        written.append(write_table(storage, output, "concepts.parquet", concepts, footer))
        if request.plot:
            png = draw_long_tail(concepts, request.rare)
            written.append(storage.write(join(output, "concepts.png"), png).url)
    entries, limits = {}, {}
    for name in counting.columns:
        entries[name], limits[name] = table, t = entry_table(counts, name, request.t, request.tail)
        written.append(write_table(storage, output, f"entries-{name}.parquet", table, {**footer, "t": str(t)}))
        written.append(storage.write(join(output, f"entries-{name}.json"), entry_json(table)).url)
    sections = {CAPTION: totals["captioned"], PICTURE: totals["ok"]}
    if counting.ngrams:
        sections[NGRAM] = rows_of(tables, NGRAM)
    for section, rows in sections.items():
        url, different[f"different_{section}s"] = write_digests(storage, output, section, tables, footer, rows)
        written.append(url)
    known = {**totals, **different}
    found = Frequencies(summary, known, concepts, entries, limits, tuple(written))
    stated = {
        **footer,
        "totals": known,
        "t": limits,
        "misalignment": found.misalignment,
        "misalignment_of_named": found.misalignment_of_named,
        "files": [Path(url).name for url in written],
    }
    text = json.dumps(stated, indent=1, sort_keys=True) + "\n"
    last = storage.write(join(output, "totals.json"), text.encode()).url
    return replace(found, written=(*written, last))
