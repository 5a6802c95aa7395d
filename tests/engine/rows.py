"""Rows and batches for the engine's tests: what a head might give, and what each row must then hold, value by value."""

from __future__ import annotations

from typing import Any

import numpy as np

from curator.data import ColumnSpec, ColumnValues, EntityTag, Labels, Lease, Reject, RowRecord, Rows, Shard

DIM = 4
LEASE = Lease(Shard("mem/a.tar", 1, "e"), 1)
COLUMNS = (
    ColumnSpec("shared", "labels", "labels of one vocabulary"),
    ColumnSpec("shared_abstained", "flag", "whether it abstained"),
    ColumnSpec("free", "labels", "labels with a list of names for each batch"),
    ColumnSpec("beauty", "score", "a score"),
    ColumnSpec("tags", "strings", "words"),
    ColumnSpec("entities", "entities", "entities"),
)
VOCABULARY = tuple(f"label {i}" for i in range(7))
IDS = tuple(f"id{i}" for i in range(7))


def record(index: int, *, reject: str | None = None) -> RowRecord:
    refusal = Reject(reject, f"row {index}") if reject else None
    return RowRecord(f"k{index:05d}", index, 512 * index, 10, 20, "JPEG", bytes(32), None, None, refusal)


def annotate(indices: list[int], batch: int, rng: np.random.Generator) -> tuple[dict[str, ColumnValues], list[Any]]:
    """Annotations for the rows ``indices`` as one batch, and the same as plain values, row by row."""
    n = len(indices)
    shared, shared_plain = _labels(n, IDS, VOCABULARY, rng)
    names = [f"free {batch}.{i}" for i in range(int(rng.integers(0, 6)))]
    free, free_plain = _labels(n, [f"id {name}" for name in names], names, rng)
    flags = rng.random(n) < 0.5
    scores = np.where(rng.random(n) < 0.3, np.nan, rng.random(n)).astype(np.float32)
    tags = [[f"tag {index}.{i}" for i in range(int(rng.integers(0, 3)))] for index in indices]
    entities = [
        [EntityTag(f"Q{index}", "name", "mention", "caption", 0.5)] * int(rng.integers(0, 3)) for index in indices
    ]
    annotations: dict[str, ColumnValues] = {
        "shared": shared,
        "shared_abstained": flags,
        "free": free,
        "beauty": scores,
        "tags": tags,
        "entities": entities,
    }
    plain = zip(shared_plain, flags.tolist(), free_plain, map(shown, scores.tolist()), tags, entities, strict=True)
    return annotations, [dict(zip(annotations, values, strict=True)) for values in plain]


def _labels(
    n: int, ids: Any, names: Any, rng: np.random.Generator
) -> tuple[Labels, list[list[tuple[str, str, float]]]]:
    k = int(rng.integers(0, 4)) if len(names) else 0
    indices = rng.integers(0, max(len(names), 1), (n, k))
    scores = rng.random((n, k)).astype(np.float32)
    counts = rng.integers(0, k + 1, n)
    plain = [
        [(ids[i], names[i], float(s)) for i, s in zip(indices[row, :count], scores[row], strict=False)]
        for row, count in enumerate(counts)
    ]
    return Labels(ids, names, indices, scores, counts), plain


def shown(score: float) -> float | None:
    """NaN as None, so that rows can be compared."""
    return None if score != score else score


def empty_row() -> dict[str, Any]:
    """What the annotations of a rejected row hold."""
    return {"shared": [], "shared_abstained": False, "free": [], "beauty": None, "tags": [], "entities": []}


def row_values(rows: Rows, row: int) -> dict[str, Any]:
    """The annotations of one taken row as plain values."""
    found: dict[str, Any] = {}
    for name, values in rows.annotations.items():
        if isinstance(values, Labels):
            count = values.counts[row]
            pairs = zip(values.indices[row, :count].tolist(), values.scores[row, :count].tolist(), strict=True)
            found[name] = [(values.ids[i], values.names[i], score) for i, score in pairs]
        elif isinstance(values, np.ndarray):
            found[name] = shown(values[row].item()) if values.dtype == np.float32 else bool(values[row])
        else:
            found[name] = list(values[row])
    return found
