"""Finished runs made by hand, without an encoder: parts and a ledger with known captions, labels and entries."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.config import Config
from curator.data import ColumnSpec, Labels, Receipt, Reject, RowRecord, Rows, shard_id
from curator.engine.ledger import Ledger
from curator.storage import open_storage
from curator.tables.readers import part_url
from curator.tables.schema import build_schema
from curator.tables.sink import PartWriter

LABELS = ["dog", "cat", "house", "tree", "red car", "犬"]
IDS = [name.replace(" ", "_") for name in LABELS]
CAPTIONS = [
    "a dog", "two dogs, a cat", "The dog's house!", "red house and a car", "car red", "tree", "犬が走る", "", None,
    "🐕 only", "a cat under trees", "nothing here",
]  # fmt: skip
COLUMNS = (
    ColumnSpec("things", "labels", "what is seen"),
    ColumnSpec("entries", "strings", "what is read"),
    ColumnSpec("score", "score", "how good"),
    ColumnSpec("language", "text", "of the caption"),
    ColumnSpec("chars", "count", "of the caption"),
)


@dataclass(frozen=True)
class Row:
    caption: str | None
    labels: tuple[tuple[str, float], ...]
    entries: tuple[str, ...]
    ok: bool
    sha256: bytes
    score: float = 0.0
    size: tuple[int, int] = (64, 48)
    metadata: bytes | None = None


def random_rows(n: int, seed: int) -> list[Row]:
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        caption = draw.choice(CAPTIONS)
        labels = tuple((name, round(draw.random(), 3)) for name in draw.sample(LABELS, draw.randint(0, 3)))
        entries = tuple(sorted({word.strip(",!") for word in (caption or "").split()}))
        digest = draw.randrange(40).to_bytes(1, "big") * 32
        rows.append(Row(caption, labels, entries, draw.random() > 0.1, digest, draw.uniform(-1, 1)))
    return rows


def write_part(run: Path, url: str, rows: Sequence[Row]) -> None:
    """(Re)place the part of ``url``, and give it a receipt."""
    storage = open_storage()
    run.mkdir(exist_ok=True)
    writer = PartWriter(
        storage,
        part_url(str(run), shard_id(url)),
        build_schema(4, "float32", COLUMNS),
        footer={"encoder_digest": "made", "shard_url": url, "config_digest": "made"},
        row_group_rows=16,
    )
    records = [
        RowRecord(
            f"{n:04d}", n, 512 * n, *row.size, "PNG", row.sha256, row.caption, row.metadata,
            None if row.ok else Reject("truncated_image", "made"),
        )
        for n, row in enumerate(rows)
    ]  # fmt: skip
    width = max((len(row.labels) for row in rows), default=0)
    indices, scores = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        for j, (name, score) in enumerate(row.labels):
            indices[i, j], scores[i, j] = LABELS.index(name), score
    labels = Labels(IDS, LABELS, indices, scores, np.array([len(row.labels) for row in rows], np.int64))
    annotations = {
        "things": labels,
        "entries": [row.entries for row in rows],
        "score": np.array([row.score for row in rows], np.float32),
        "language": [None if not row.caption else "en" if row.caption.isascii() else "ja" for row in rows],
        "chars": np.array([len(row.caption) if row.caption else -1 for row in rows], np.int64),
    }
    ok = np.array([row.ok for row in rows], np.bool_)
    vectors = np.eye(4, dtype=np.float32)[np.arange(len(rows)) % 4]
    writer.write(Rows(url, records, ok, vectors, annotations))
    part = writer.commit()
    ledger = Ledger(storage, str(run))
    for receipt in list((run / "_ledger" / "receipts").glob(f"{shard_id(url)}-*")):
        receipt.unlink()
    ledger.create_receipt(
        Receipt(
            shard_id=shard_id(url), url=url, size=len(rows), etag=part.etag, attempt=1, samples=len(rows),
            rows=len(rows), rejected=sum(not row.ok for row in rows), reasons={}, part=part.url.rsplit("/", 1)[-1],
            part_bytes=part.size, seconds={}, total_s=0.0, config_digest="made",
        )
    )  # fmt: skip


def make_run(run: Path, parts: Sequence[Sequence[Row]]) -> Path:
    """A finished run of shards ``s0.tar``, ``s1.tar``, ..."""
    for number, rows in enumerate(parts):
        write_part(run, f"s{number}.tar", rows)
    vocabulary = run.parent / "things.txt"
    vocabulary.write_text("\n".join(LABELS) + "\n")
    settings = {
        **Config().model_dump(),
        "labels": [{"name": "things", "vocabulary": str(vocabulary)}],
    }
    digests = {"encoder_digest": "made", "precision": "float32", "config_digest": "made"}
    Ledger(open_storage(), str(run)).open_run(digests, {}, provenance={}, settings=settings)
    return run
