"""A hand-made output whose numbers are known: ten rows of one label set, written as a run would write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curator.data import ColumnSpec, Labels, Reject, RowRecord, Rows
from curator.storage import open_storage
from curator.tables.readers import part_url
from curator.tables.schema import build_schema
from curator.tables.sink import PartWriter

NAMES = ["cat", "hot dog", "bird"]
IDS = ["cat", "food", "bird"]


def write_output(
    folder: Path,
    ranked: Sequence[Sequence[tuple[str, float]]],
    truth: Sequence[object],
    *,
    abstained: Sequence[bool] = (),
    foreign: Sequence[float] = (),
) -> str:
    """Rows with these labels and this truth (in the json as ``label``); a row more is rejected, one has no truth."""
    width = max(map(len, ranked))
    n = len(ranked) + 1
    indices, scores = np.zeros((n + 1, width), np.int64), np.zeros((n + 1, width), np.float32)
    for row, labels in enumerate(ranked):
        for rank, (name, score) in enumerate(labels):
            indices[row, rank], scores[row, rank] = IDS.index(name), score
    counts = np.array([*map(len, ranked), 0, 0])
    columns = [ColumnSpec("labels", "labels", "made by hand"), ColumnSpec("labels_abstained", "flag", "by hand")]
    annotations = {
        "labels": Labels(IDS, NAMES, indices, scores, counts),
        "labels_abstained": np.array([*(abstained or [False] * len(ranked)), False, False]),
    }
    if foreign:
        columns.append(ColumnSpec("labels_ood", "score", "by hand"))
        annotations["labels_ood"] = np.array([*foreign, 0, 0], np.float32)
    known = [json.dumps({"label": label}).encode() for label in truth]
    records = [
        RowRecord(f"{row:04d}", row, 0, 1, 1, "PNG", b"0" * 32, f"caption {row}", metadata, None)
        for row, metadata in enumerate([*known, b"{}"])
    ]
    fault = Reject("no_image", "by hand")
    records.append(RowRecord(f"{n:04d}", n, 0, None, None, None, None, None, b'{"label": "cat"}', fault))
    vectors = np.eye(4, dtype=np.float32)[np.arange(n + 1) % 4]
    rows = Rows("shard.tar", records, np.array([True] * n + [False]), vectors, annotations)
    footer = {"shard_url": "shard.tar", "config_digest": "by hand"}
    url = part_url(str(folder), "0" * 16)
    with PartWriter(open_storage(), url, build_schema(4, "float32", columns), footer=footer) as writer:
        writer.write(rows)
        writer.commit()
    return str(folder)
