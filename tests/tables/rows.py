"""Finished rows made from a seed, and what a part must say of them, worked out row by row without Arrow."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from curator.data import ColumnSpec, ColumnValues, EntityTag, Labels, Reject, RowRecord, Rows
from curator.storage import Entry, Storage
from curator.tables.schema import build_schema
from curator.tables.sink import PartWriter

SHARD = "s3://bucket/shards/00007.tar"
DIM = 8
COLUMNS = (
    ColumnSpec("things", "labels", "What is in the picture"),
    ColumnSpec("things_abstained", "flag", "Whether no thing was sure enough"),
    ColumnSpec("entities", "entities", "Who or what the caption names"),
    ColumnSpec("clip_score", "score", "Cosine between image and caption"),
    ColumnSpec("tags", "strings", "Free words"),
    ColumnSpec("words", "count", "Words of the caption"),
    ColumnSpec("language", "text", "Language of the caption"),
)
SCHEMA = build_schema(DIM, "float16", COLUMNS)
NAMES = ("cat", "dog", "Käse", "鳥", "tree")
IDS = tuple(f"n{i:04d}" for i in range(len(NAMES)))


def make_rows(
    start: int = 0,
    stop: int = 10,
    *,
    rejects: Iterable[int] = (),
    dim: int = DIM,
    ids: tuple[str, ...] = IDS,
    names: tuple[str, ...] = NAMES,
) -> Rows:
    """Rows ``start`` to ``stop`` of one shard; every kind of column, with empty lists and missing scores among them."""
    return join_rows([make_row(i, reject=i in set(rejects), dim=dim) for i in range(start, stop)], dim, ids, names)


def make_row(index: int, *, reject: bool, dim: int = DIM) -> dict[str, Any]:
    rng = np.random.default_rng(index)
    vector = rng.standard_normal(dim)
    return {
        "key": f"sample/{index:05d}",
        "index": index,
        "offset": 512 + 2048 * index,
        "width": None if reject else 640 + index,
        "height": None if reject else 480,
        "format": None if reject else "JPEG",
        "sha256": None if index % 11 == 5 else hashlib.sha256(b"%d" % index).digest(),
        "caption": (None, "", "a picture", "ein Bild von Käse", "鳥と木")[index % 5],
        "metadata": (b'{"a": 1}', None, b"\xff\xfe not utf-8 \x00", b"")[index % 4],
        "reject": Reject("truncated_image", f"image ends at byte {index}") if reject else None,
        "vector": np.full(dim, np.nan) if reject else vector / np.linalg.norm(vector),
        "labels": [] if reject else [(int(i), float(rng.random())) for i in rng.permutation(5)[: index % 4]],
        "abstained": not reject and index % 4 == 0,
        "score": math.nan if index % 3 == 0 else float(rng.random()),
        "entities": []
        if reject
        else [EntityTag(f"Q{i}", "Käse", "kaese", "caption", float(rng.random())) for i in range(index % 3)],
        "tags": [] if reject else ["red", "", "鳥"][: index % 4],
        "words": index % 5 - 1,
        "language": (None, "de", "日本語")[index % 3],
    }


def join_rows(
    rows: list[dict[str, Any]], dim: int = DIM, ids: tuple[str, ...] = IDS, names: tuple[str, ...] = NAMES
) -> Rows:
    """The dicts of ``make_row`` as Rows."""
    width = max((len(row["labels"]) for row in rows), default=0)
    padded = [row["labels"] + [(len(names) - 1, -1.0)] * (width - len(row["labels"])) for row in rows]
    annotations: dict[str, ColumnValues] = {
        "things": Labels(
            ids,
            names,
            np.array([[i for i, _ in labels] for labels in padded], np.int64).reshape(len(rows), width),
            np.array([[s for _, s in labels] for labels in padded], np.float32).reshape(len(rows), width),
            np.array([len(row["labels"]) for row in rows], np.int64),
        ),
        "things_abstained": np.array([row["abstained"] for row in rows], np.bool_),
        "entities": [row["entities"] for row in rows],
        "clip_score": np.array([row["score"] for row in rows], np.float32),
        "tags": [row["tags"] for row in rows],
        "words": np.array([row["words"] for row in rows], np.int64),
        "language": [row["language"] for row in rows],
    }
    names_of_record = RowRecord.__dataclass_fields__
    return Rows(
        SHARD,
        [RowRecord(**{name: row[name] for name in names_of_record}) for row in rows],
        np.array([row["reject"] is None for row in rows], np.bool_),
        np.array([row["vector"] for row in rows], np.float32).reshape(len(rows), dim),
        annotations,
    )


def expected(rows: Rows, dtype: type[np.floating[Any]] = np.float16) -> list[dict[str, Any]]:
    """What every reader must find, as plain Python values."""
    return [_expected_row(rows, i, dtype) for i in range(len(rows.records))]


def _expected_row(rows: Rows, i: int, dtype: type[np.floating[Any]]) -> dict[str, Any]:
    record, a = rows.records[i], rows.annotations
    ok = record.reject is None
    digest = hashlib.sha256(f"{rows.shard_url}\n{record.key}".encode("utf-8", "surrogateescape")).hexdigest()
    things = a["things"]
    assert isinstance(things, Labels)
    row = {
        "sample_id": digest[:32],
        "key": _shown(record.key),
        "shard": rows.shard_url,
        "index": record.index,
        "offset": record.offset,
        "status": "ok" if ok else "rejected",
        "reason": record.reject.reason if record.reject else None,
        "message": _shown(record.reject.message) if record.reject else None,
        "width": record.width,
        "height": record.height,
        "format": record.format,
        "sha256": record.sha256.hex() if record.sha256 is not None else None,
        "caption": _shown(record.caption),
        "metadata": record.metadata,
    }
    heads = {
        "embedding": rows.vectors[i].astype(dtype).tolist(),
        "things": [
            {"label_id": things.ids[k], "label": things.names[k], "score": float(s)}
            for k, s in zip(things.indices[i][: things.counts[i]], things.scores[i], strict=False)
        ],
        "things_abstained": bool(a["things_abstained"][i]),  # type: ignore[index]
        "entities": [
            {
                "entity_id": tag.entity_id,
                "name": tag.name,
                "mention": tag.mention,
                "source": tag.source,
                "score": float(np.float32(tag.score)),
            }
            for tag in a["entities"][i]  # type: ignore[index]
        ],
        "clip_score": None if np.isnan(a["clip_score"][i]) else float(a["clip_score"][i]),  # type: ignore[index]
        "tags": list(a["tags"][i]),  # type: ignore[index]
        "words": None if a["words"][i] < 0 else int(a["words"][i]),  # type: ignore[index]
        "language": _shown(a["language"][i]),  # type: ignore[index]
    }
    nothing = dict.fromkeys(heads) | {"embedding": [None] * rows.vectors.shape[1]}
    return row | (heads if ok else nothing)


def _shown(text: str | None) -> str | None:
    """Undecodable bytes as ``\\xNN``; where there is a lone surrogate of another kind, all of them as ``\\uNNNN``."""
    if text is None:
        return None
    lone = any(0xD800 <= ord(c) < 0xDC80 or 0xDD00 <= ord(c) < 0xE000 for c in text)
    if lone:
        return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) < 0xDD00 else c for c in text)


def write_part(
    storage: Storage, url: str, *portions: Rows, schema: pa.Schema = SCHEMA, row_group_rows: int = 4, **limits: int
) -> Entry:
    footer = {"encoder": "tiny"}
    with PartWriter(storage, url, schema, footer=footer, row_group_rows=row_group_rows, **limits) as writer:
        for rows in portions:
            writer.write(rows)
        return writer.commit()
