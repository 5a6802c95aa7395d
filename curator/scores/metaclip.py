"""Owns the column of metadata entries that a caption has, by MetaCLIP's rule. Knows no image and no embedding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import marisa_trie
import numpy as np

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.errors import ConfigError
from curator.kernels.metaclip import entry_probabilities, keep_probability, spaced
from curator.scores.files import (
    counts_of,
    digest_of_bytes,
    flat,
    option,
    place_of,
    read_bytes,
    read_same,
    required,
    texts_of,
)
from curator.storage.base import Storage

DEFAULT_T = 20_000
_SURROGATE = re.compile("[\ud800-\udfff]")  # what UTF-8 cannot carry; no entry has it


class EntryMatcher:
    """Finds entries in texts, overlapping ones included: a static trie is asked for prefixes after every space.

    The package is the one that ``curator/entities`` matches aliases with. An automaton (pyahocorasick) is 2.5 times as
    fast and takes a hundred times the memory; at 70,000 captions a second and core no run waits for either.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        """``entries`` without repetition."""
        keys = {f"{entry} ": number for number, entry in enumerate(entries)}
        self._trie = marisa_trie.Trie(keys)
        self._longest = max(map(len, keys), default=0)
        self._numbers = np.zeros(len(keys), np.int64)
        for key, number in keys.items():
            self._numbers[self._trie[key]] = number

    def __call__(self, text: str) -> list[int]:
        """The entries that the text has, by their numbers, each once and in the order of the entries."""
        padded = _SURROGATE.sub("\uffff", spaced(text))
        search, longest, find = self._trie.iter_prefixes_with_ids, self._longest, padded.find
        found: set[int] = set()
        place = 1
        while place:
            found.update(number for _, number in search(padded[place : place + longest]))
            place = find(" ", place) + 1
        return sorted(self._numbers[list(found)].tolist())


class MetaClip(Annotator):
    """``NAME``: the entries of ``metadata`` that the caption has; with ``counts``, the probability of keeping it, too.

    ``metadata`` is a text file with an entry a line or a JSON list; ``counts`` a JSON object entry -> count, as
    ``curator concepts`` writes it or as it was published; ``t`` the limit above which entries are thinned.
    """

    READS_CAPTIONS = True
    OPTIONS = frozenset({"metadata", "counts", "t"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        place = place_of(spec)
        url = required(spec, "metadata", "a file with an entry a line, or a JSON list of entries")
        data = read_bytes(storage, url, place)
        entries = texts_of(data, place, url)
        options = {**spec.options, "metadata_digest": digest_of_bytes(data)}
        if option(spec, "t", (int, float), DEFAULT_T) <= 0:
            raise ConfigError(f"{place}: option 't' is {spec.options['t']}; it must be positive")
        counts_url = option(spec, "counts", str)
        if counts_url:
            counts = read_bytes(storage, counts_url, place)
            if not counts_of(counts, place, counts_url).keys() & set(entries):
                raise ConfigError(f"{place}: {counts_url}: counts no entry of {url}; give the counts of that metadata")
            options["counts_digest"] = digest_of_bytes(counts)
        return replace(spec, options=options)

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        entries = ColumnSpec(spec.name, "strings", "Metadata entries in the caption, by MetaCLIP's substring rule")
        if not spec.options.get("counts"):
            return (entries,)
        what = f"MetaCLIP: probability of keeping the sample with t = {spec.options.get('t', DEFAULT_T)}"
        return (entries, ColumnSpec(f"{spec.name}_probability", "score", what))

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> MetaClip:
        place, options = place_of(spec), spec.options
        data = read_same(means.storage, options["metadata"], options["metadata_digest"], place)
        found = cls(spec, means.encoder)
        found._entries = texts_of(data, place, options["metadata"])
        found._match = EntryMatcher(found._entries)
        if options.get("counts"):
            data = read_same(means.storage, options["counts"], options["counts_digest"], place)
            counts = counts_of(data, place, options["counts"])
            known = [counts.get(entry, 0) for entry in found._entries]
            found._probabilities = entry_probabilities(known, options.get("t", DEFAULT_T))
        return found

    _entries: list[str]
    _match: EntryMatcher
    _probabilities: Any = None

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        matches: list[list[int]] = [[] for _ in embeddings.captions]
        for row, caption in flat(embeddings.captions):
            matches[row] = self._match(caption)
        values: dict[str, ColumnValues] = {self.name: [[self._entries[n] for n in row] for row in matches]}
        if self._probabilities is not None:
            kept = [keep_probability(self._probabilities[row]) for row in matches]
            values[f"{self.name}_probability"] = np.array(kept, np.float32)
        return values
