"""Owns the measures of free labels against true names: clusters, words in common, meaning. Pure numpy and strings.

Knows no encoder and no file. Source: Conti et al., "Vocabulary-free Image Classification", NeurIPS 2023, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def assignment(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """The column of each row, [n], in a one-to-one assignment of least total ``cost`` [n, m], n <= m.

    The Hungarian method by shortest augmenting paths with potentials (Kuhn 1955; Jonker and Volgenant 1987): O(n^2 m).
    """
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"{rows} rows cannot have a column each of {columns}")
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1, np.int64)
    for start in range(rows):
        distance = cost[start] - row_price[start] - column_price
        before = np.full(columns, -1, np.int64)  # the column from which the path comes
        done = np.zeros(columns, np.bool_)
        while True:
            passed = float(distance[~done].min())
            near = np.flatnonzero(~done & (distance == passed))
            free = near[row_of[near] < 0]
            if len(free):
                break
            done[near] = True  # all that are equally near at once: counts of rows tie a lot
            taken = row_of[near]
            through = passed + cost[taken] - row_price[taken, None] - column_price
            best = through.argmin(axis=0)
            nearest = through[best, np.arange(columns)]
            shorter = ~done & (nearest < distance)
            distance[shorter], before[shorter] = nearest[shorter], near[best[shorter]]
        row_price[start] += passed
        row_price[row_of[done]] += passed - distance[done]
        column_price[done] -= passed - distance[done]
        at = int(free[0])
        while at >= 0:
            previous = int(before[at])
            row_of[at] = start if previous < 0 else row_of[previous]
            at = previous
    found = np.empty(rows, np.int64)
    taken = np.flatnonzero(row_of >= 0)
    found[row_of[taken]] = taken
    return found


def cluster_counts(predicted: Sequence[str], target: Sequence[str]) -> NDArray[np.int64]:
    """How many rows have each pair of a predicted (rows) and a true name (columns), names in alphabetical order."""
    rows, columns = (np.unique(np.asarray(names, object), return_inverse=True) for names in (predicted, target))
    counts = np.zeros((len(rows[0]), len(columns[0])), np.int64)
    np.add.at(counts, (rows[1], columns[1]), 1)
    return counts


def cluster_accuracy(predicted: Sequence[str], target: Sequence[str]) -> float:
    """Share of rows that are right when each predicted name stands for one true name, as well as can be.

    What the names say does not count, only which rows they put together. NaN without rows.
    """
    if not len(target):
        return float("nan")
    counts = cluster_counts(predicted, target)
    counts = counts if counts.shape[0] <= counts.shape[1] else counts.T
    columns = assignment((counts.max() - counts).astype(np.float64))
    return float(counts[np.arange(len(counts)), columns].sum() / len(target))


def words_in_common(predicted: str, target: str) -> float:
    """Semantic IoU of one row: words of both over words of either; case and punctuation do not count."""
    one, other = (
        set("".join(letter for letter in name if letter.isalnum() or letter == " ").lower().split())
        for name in (predicted, target)
    )
    return len(one & other) / len(one | other) if one | other else 0.0
