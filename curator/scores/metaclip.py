"""Owns the column of metadata entries that a caption has, by MetaCLIP's rule. Knows no image and no embedding."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import marisa_trie
import numpy as np

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.kernels.metaclip import entry_probabilities, keep_probability, spaced
from curator.options import content, decoded, fault, json_of, named, number, text, unchanged
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
        for key, place in keys.items():
            self._numbers[self._trie[key]] = place

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
        url = named(spec, "metadata", "a file with an entry a line, or a JSON list of entries")
        data = content(spec, "metadata", storage)
        entries = _entries_of(spec, data)
        options = {**spec.options, "metadata_digest": _digest(data)}
        number(spec, "t", DEFAULT_T, low=1.0)
        counts_url = text(spec, "counts", None)
        if counts_url is not None:
            data = content(spec, "counts", storage)
            if not _counts_of(spec, data).keys() & set(entries):
                raise fault(spec, f"counts {counts_url} has no entry of {url}; give the counts of that metadata")
            options["counts_digest"] = _digest(data)
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
        found = cls(spec, means.encoder)
        found._entries = _entries_of(spec, _same(spec, "metadata", means.storage))
        found._match = EntryMatcher(found._entries)
        if spec.options.get("counts"):
            counts = _counts_of(spec, _same(spec, "counts", means.storage))
            known = [counts.get(entry, 0) for entry in found._entries]
            found._probabilities = entry_probabilities(known, spec.options.get("t", DEFAULT_T))
        return found

    _entries: list[str]
    _match: EntryMatcher
    _probabilities: Any = None

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        matches: list[list[int]] = [[] for _ in embeddings.captions]
        for row, caption in embeddings.captioned:
            matches[row] = self._match(caption)
        values: dict[str, ColumnValues] = {self.name: [[self._entries[n] for n in row] for row in matches]}
        if self._probabilities is not None:
            kept = [keep_probability(self._probabilities[row]) for row in matches]
            values[f"{self.name}_probability"] = np.array(kept, np.float32)
        return values


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _same(spec: AnnotatorSpec, key: str, storage: Storage) -> bytes:
    """The option's file again, in a worker. ConfigError where it is no longer what the driver saw."""
    data = content(spec, key, storage)
    unchanged(spec, key, _digest(data))
    return data


def _entries_of(spec: AnnotatorSpec, data: bytes) -> list[str]:
    """The entries: a JSON list, or one a line. Nothing is stripped but the line's end, and empty ones are left out."""
    if spec.options["metadata"].lower().endswith(".json"):
        found = json_of(spec, "metadata", data)
        entries = list(found) if isinstance(found, Mapping) else found
    else:
        entries = [line.removesuffix("\r") for line in decoded(spec, "metadata", data).split("\n")]
    if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
        raise fault(spec, f"metadata {spec.options['metadata']} must hold a list of texts")
    kept = list(dict.fromkeys(each for each in entries if each.strip()))
    if not kept:
        raise fault(spec, f"metadata {spec.options['metadata']} holds no text")
    return kept


def _counts_of(spec: AnnotatorSpec, data: bytes) -> dict[str, int]:
    """Counts by entry, in the file's order."""
    found = json_of(spec, "counts", data)
    if not isinstance(found, dict) or not all(type(count) is int and count >= 0 for count in found.values()):
        raise fault(spec, f"counts {spec.options['counts']} must be a JSON object that gives every entry its count")
    return found
