"""Owns how what was found in each row's caption becomes a column of labels. Knows no method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curator.data import Labels


def labels_of(rows: Sequence[Sequence[tuple[str, str, float]]]) -> Labels:
    """Rows of (id, name, score) in their order, as labels; a score of NaN is null in the file."""
    places: dict[tuple[str, str], int] = {}
    shape = (len(rows), max((len(row) for row in rows), default=0))
    indices, scores = np.zeros(shape, np.int64), np.full(shape, np.nan, np.float32)
    for i, row in enumerate(rows):
        for j, (identity, name, score) in enumerate(row):
            indices[i, j], scores[i, j] = places.setdefault((identity, name), len(places)), score
    counts = np.array([len(row) for row in rows], np.int64)
    return Labels([identity for identity, _ in places], [name for _, name in places], indices, scores, counts)
