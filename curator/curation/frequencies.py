"""Owns the tables that counts become: concepts, entries of columns, captions, images. Knows no run and no schedule."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator.curation.counts import BOTH, COLUMN, IMAGE, NGRAM, TEXT, TOTAL, Counting, merged
from curator.kernels.metaclip import entry_probabilities, tail_limit
from curator.storage import Storage, Upload, join

BUCKET_ROWS = 4_000_000
"""So many rows of captions, images or n-grams are merged at a time."""

Tables = Callable[[], Iterable[pa.Table]]
"""The counts of all parts, as often as asked for."""


def small_sections(tables: Tables) -> pa.Table:
    """The merged counts of all but captions, images and n-grams, whose keys are as many as the rows."""
    return merged(table.filter(pc.match_substring_regex(table["section"], r"\.|^total$")) for table in tables())


def totals_of(counts: pa.Table, counting: Counting) -> dict[str, int]:
    """Rows of the run by what they have: samples, ok, captioned; with concepts, those with one in text, image, both."""
    names = ["samples", "ok", "captioned"]
    if counting.concepts:
        names += ["with_text"] if counting.images_column is None else ["with_text", "with_image", "aligned"]
    return dict(zip(names, _numbers(counts, TOTAL, names).tolist(), strict=True))


def concept_table(counts: pa.Table, counting: Counting, rare: int) -> pa.Table:
    """A row per concept, in their order: n_text, n_image, n_both, misalignment (1 - n_both / n_text), and rare.

    ``misalignment`` is null where no caption names the concept, ``rare`` is whether fewer than ``rare`` rows have it in
    text and image both (in the text alone where no images were counted).
    """
    ids = [concept for concept, _, _ in counting.concepts]
    text, image, both = (_numbers(counts, section, ids) for section in (TEXT, IMAGE, BOTH))
    missing = text == 0
    rate = 1 - both / np.where(missing, 1, text)
    seen = text if counting.images_column is None else both
    return pa.table(
        {
            "concept_id": pa.array(ids, pa.string()),
            "name": pa.array([name for _, name, _ in counting.concepts], pa.string()),
            "n_text": text,
            "n_image": image,
            "n_both": both,
            "misalignment": pa.array(rate, pa.float64(), mask=missing | (counting.images_column is None)),
            "rare": pa.array(seen < rare),
        }
    )


def _numbers(counts: pa.Table, section: str, keys: list[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    chosen = counts.filter(pc.equal(counts["section"], section))
    known = dict(zip(chosen["key"].to_pylist(), chosen["n"].to_pylist(), strict=True))
    return np.array([known.get(key, 0) for key in keys], np.int64)


def entry_table(counts: pa.Table, column: str, t: float, tail: float | None = None) -> tuple[pa.Table, float]:
    """A row per entry that the column has, the most frequent first: entry_id, name, n, t / max(n, t); and t.

    With ``tail``, t is such that entries rarer than it make up that share of all matches (``tail_limit``).
    """
    chosen = counts.filter(pc.equal(counts["section"], f"{COLUMN}{column}"))
    chosen = chosen.sort_by([("n", "descending"), ("key", "ascending")])
    n = chosen["n"].to_numpy()
    if tail is not None and len(n):
        t = tail_limit(n, tail)
    names = pc.coalesce(chosen["name"], chosen["key"])
    columns = {"entry_id": chosen["key"], "name": names, "n": chosen["n"], "probability": entry_probabilities(n, t)}
    return pa.table(columns), t


def entry_json(entries: pa.Table) -> bytes:
    """Entry -> count as JSON, the most frequent first: what ``metaclip`` and ``catlip`` take as counts, vocabulary."""
    found = dict(zip(entries["entry_id"].to_pylist(), entries["n"].to_pylist(), strict=True))
    return (json.dumps(found, ensure_ascii=False, indent=0) + "\n").encode()


def write_table(storage: Storage, output: str, name: str, table: pa.Table, footer: Mapping[str, str]) -> str:
    """Write a table in one step; gives its url."""
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(_metadata(footer)), buffer, compression="zstd")
    return storage.write(join(output, name), buffer.getvalue()).url


def write_digests(
    storage: Storage, output: str, section: str, tables: Tables, footer: Mapping[str, str], rows: int
) -> tuple[str, int]:
    """Write the merged counts of captions, images or n-grams in order of digest, in one step: (url, different ones).

    ``rows`` bounds how many counts there are over all parts: it decides in how many ranges of digests they are merged.
    The digest of an n-gram is a number, and the n-gram stands beside it.
    """
    fields = {"digest": pa.uint64(), "ngram": pa.string()} if section == NGRAM else {"digest": pa.string()}
    schema = pa.schema({**fields, "n": pa.int64()}, metadata=_metadata(footer))
    upload = storage.upload(join(output, f"{section}s.parquet"))
    try:
        different = 0
        with pq.ParquetWriter(pa.PythonFile(UploadFile(upload), mode="w"), schema, compression="zstd") as writer:
            for found in _buckets(tables, section, 1 + rows // BUCKET_ROWS):
                different += found.num_rows
                columns = {"digest": found["key"], "n": found["n"]}
                if section == NGRAM:
                    numbers = pa.array([int(key, 16) for key in found["key"].to_pylist()], pa.uint64())
                    columns = {"digest": numbers, "ngram": found["name"], "n": found["n"]}
                writer.write_table(pa.table(columns, schema=schema))
        return upload.commit().url, different
    finally:
        upload.abort()


class UploadFile:
    """An upload as a file for Arrow, which asks where it is."""

    closed = False

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._position = 0

    def write(self, data: bytes) -> int:
        self._upload.write(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True


def rows_of(tables: Tables, section: str) -> int:
    """How many counts of ``section`` there are over all parts."""
    return sum(pc.sum(pc.equal(table["section"], section)).as_py() or 0 for table in tables())


def _buckets(tables: Tables, section: str, buckets: int) -> Iterator[pa.Table]:
    """The merged counts of a section, range of digests by range."""
    borders = [f"{number * 2**32 // buckets:08x}" for number in range(1, buckets)]
    for lowest, above in zip(["", *borders], [*borders, "g"], strict=True):
        yield merged(
            table.filter((pc.field("section") == section) & (pc.field("key") >= lowest) & (pc.field("key") < above))
            for table in tables()
        )


def _metadata(footer: Mapping[str, str]) -> dict[str, str]:
    return {f"curator.{key}": value for key, value in footer.items()}
