"""Owns the way from a run's free labels to a vocabulary: counts them, merges what says the same, drops what is rare.

Knows no image. How labels are merged is decided in ``free/merging.py``.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.engine.compose import run_encoder
from curator.engine.wait import warn_unless_ended
from curator.errors import ConfigError
from curator.evaluation.label_columns import chosen, free_label_sets, label_columns
from curator.free.merging import Concept, merge_near, merge_synonyms, variants
from curator.kernels.candidates import NO_CANDIDATE
from curator.storage import Storage
from curator.tables.readers import scan


def vocabulary_from_free(
    run: str,
    storage: Storage,
    *,
    label_set: str | None = None,
    ranks: int = 1,
    min_count: int = 1,
    synonyms: bool = False,
    cosine: float | None = None,
) -> list[Concept]:
    """The concepts among the ``ranks`` best labels of every row, the most frequent first.

    What occurs in fewer than ``min_count`` labels after merging is dropped, and so is the word that CaSED gives where
    it found none. ``cosine`` also merges by the text vectors of the run's encoder. ConfigError where the run has no
    such labels, or none is frequent enough.
    """
    chosen_set = chosen(run, storage, label_set, free_label_sets(run, storage), "free labels")
    counts = count_labels(run, storage, chosen_set, ranks)
    if label_columns(run, storage)[chosen_set] == "free.cased":
        counts.pop(NO_CANDIDATE, None)
    concepts = variants(counts)
    if synonyms:
        concepts = merge_synonyms(concepts)
    if cosine is not None and concepts:
        _, encoder = run_encoder(run, storage)
        concepts = merge_near(concepts, encoder.embed_text([concept.name for concept in concepts]), cosine)
    kept = [concept for concept in concepts if concept.count >= min_count]
    if not kept:
        most = f"the most frequent has {concepts[0].count}" if concepts else "the run has none at all"
        raise ConfigError(f"{run}: no free label occurs {min_count} times ({most}); lower --min-count")
    return kept


def count_labels(run: str, storage: Storage, label_set: str, ranks: int) -> Counter[str]:
    """How often each label is among the ``ranks`` best of a row."""
    warn_unless_ended(run, storage)
    counts: Counter[str] = Counter()
    for batch in scan(run, storage, [f"{label_set}.list.element.label"]):
        lists = batch.column(label_set)
        offsets = lists.offsets.to_numpy()
        rank = np.arange(offsets[-1] - offsets[0]) - np.repeat(offsets[:-1] - offsets[0], np.diff(offsets))
        labels = pc.struct_field(lists.values.slice(offsets[0], len(rank)), "label").filter(pa.array(rank < ranks))
        counted = pc.value_counts(labels)
        for label, count in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
            counts[label] += count
    return counts
