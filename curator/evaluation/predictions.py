"""Owns what a run (or a head over its embeddings) says of the samples whose truth is known, as arrays.

Knows no measure and no page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curator.engine.wait import warn_unless_ended
from curator.errors import ConfigError
from curator.evaluation.label_columns import chosen, label_sets
from curator.evaluation.truth import Truth
from curator.kernels.names import plain
from curator.storage import Storage
from curator.tables.readers import scan, schema_of, vectors
from curator.tables.schema import EMBEDDING, STATUS_OK

if TYPE_CHECKING:
    from curator.data import Labels


@dataclass(frozen=True, slots=True)
class Predictions:
    """N rows with a known truth. ``names`` are the labels by code; ``codes`` int64 and ``scores`` [N, K] are ranked.

    ``codes`` is -1 where a row has fewer labels. ``truth`` has the codes that are right for each row.
    ``foreign`` is the NAME_ood column, where there is one. ``left_out`` counts the rows that are not among the N.
    """

    names: Sequence[str]
    codes: NDArray[np.int64]
    scores: NDArray[np.float32]
    truth: Sequence[tuple[int, ...]]
    abstained: NDArray[np.bool_]
    foreign: NDArray[np.float32] | None
    left_out: dict[str, int]

    @property
    def multi_label(self) -> bool:
        return any(len(labels) != 1 for labels in self.truth)


class Codes:
    """Labels as numbers. A label is known by its id and by its name; a truth that no label has gets its own number."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._by_id: dict[str, int] = {}
        self._by_plain: dict[str, int] = {}

    def of_label(self, identity: str, name: str) -> int:
        code = self._by_id.get(identity)
        if code is None:
            code = self._by_id[identity] = self._by_plain.get(plain(identity), self._by_plain.get(plain(name), -1))
            if code < 0:
                code = self._by_id[identity] = len(self.names)
                self.names.append(name)
            self._by_plain.setdefault(plain(identity), code)
            self._by_plain.setdefault(plain(name), code)
        return code

    def of_truth(self, label: str) -> int:
        code = self._by_plain.get(plain(label))
        if code is None:
            code = self._by_plain[plain(label)] = len(self.names)
            self.names.append(label)
        return code


def collect(output: str, storage: Storage, label_set: str | None, truth: Truth) -> tuple[str, Predictions]:
    """The name of the label set and what it says of every row whose truth is known. ConfigError where none is."""
    name, flags = _columns(output, storage, label_set)
    warn_unless_ended(output, storage)
    codes = Codes()
    gathered = _Gathered(codes)
    columns = ["sample_id", "key", "status", "caption", "metadata", name, *flags]
    for batch in scan(output, storage, columns):
        rows, labels = _known(batch, truth, gathered)
        taken = batch.take(pa.array(rows, pa.int64()))
        ranked = [
            [(codes.of_label(each["label_id"], each["label"]), each["score"]) for each in row or ()]
            for row in taken.column(name).to_pylist()
        ]
        found = {flag.removeprefix(f"{name}_"): taken.column(flag).to_pylist() for flag in flags}
        gathered.add(labels, ranked, found.get("abstained"), found.get("ood"))
    return name, gathered.predictions(output)


@dataclass(frozen=True, slots=True)
class Sample:
    """Stored embeddings float32 [N, D] with their captions, metadata and true labels."""

    vectors: NDArray[np.float32]
    captions: Sequence[str | None]
    metadata: Sequence[bytes | None]
    truth: Sequence[tuple[str, ...]]


def labelled_sample(output: str, storage: Storage, truth: Truth, *, limit: int | None = None, seed: int = 0) -> Sample:
    """The embeddings of a run whose truth is known, or ``limit`` of them drawn by ``seed``. ConfigError where none."""
    warn_unless_ended(output, storage)
    gathered = _Gathered(Codes())
    blocks, captions, metadata, truths = [np.empty((0, 0), np.float32)], [], [], []
    for batch in scan(output, storage, ["sample_id", "key", "status", "caption", "metadata", EMBEDDING]):
        rows, labels = _known(batch, truth, gathered)
        if not rows:
            continue
        blocks.append(vectors(batch)[rows].astype(np.float32))
        captions += batch.column("caption").take(pa.array(rows, pa.int64())).to_pylist()
        metadata += batch.column("metadata").take(pa.array(rows, pa.int64())).to_pylist()
        truths += labels
    if not truths:
        raise nothing_known(output)
    matrix = np.concatenate(blocks[1:])
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    picked = np.arange(len(truths))
    if limit is not None and limit < len(truths):
        picked = np.sort(np.random.default_rng(seed).choice(len(truths), limit, replace=False))
    places = picked.tolist()
    return Sample(
        matrix[picked], [captions[i] for i in places], [metadata[i] for i in places], [truths[i] for i in places]
    )


def from_labels(
    batches: Sequence[tuple[Labels, NDArray[np.bool_] | None]], truth: Sequence[tuple[str, ...]]
) -> Predictions:
    """What a head said of a sample, batch by batch in its order: labels and, where the head has them, abstentions."""
    gathered = _Gathered(Codes())
    start = 0
    for labels, abstained in batches:
        ranked = [
            [
                (gathered.codes.of_label(labels.ids[code], labels.names[code]), score)
                for code, score in zip(indices[:count], scores[:count], strict=True)
            ]
            for indices, scores, count in zip(
                labels.indices.tolist(), labels.scores.tolist(), labels.counts.tolist(), strict=True
            )
        ]
        flags = None if abstained is None else abstained.tolist()
        gathered.add(truth[start : start + len(ranked)], ranked, flags, None)
        start += len(ranked)
    return gathered.predictions("the sample")


def nothing_known(output: str) -> ConfigError:
    return ConfigError(f"{output}: no row that is ok has a known truth; check --truth against a row's json and key")


def _columns(output: str, storage: Storage, label_set: str | None) -> tuple[str, list[str]]:
    """The label set's column, and its flag and score columns. Only one label set needs no name."""
    label_set = chosen(output, storage, label_set, label_sets(output, storage), "label set")
    flags = [f"{label_set}_{each}" for each in ("abstained", "ood")]
    known = schema_of(output, storage).names
    return label_set, [flag for flag in flags if flag in known]


def _known(batch: pa.RecordBatch, truth: Truth, gathered: _Gathered) -> tuple[list[int], list[tuple[str, ...]]]:
    """The rows of a batch that are ok and whose truth is known, with it; the others are counted."""
    rows, labels = [], []
    for row, (status, found) in enumerate(zip(batch.column("status").to_pylist(), _truths(batch, truth), strict=True)):
        if found is None:
            gathered.left_out["without truth"] += 1
        elif status != STATUS_OK:
            gathered.left_out["rejected"] += 1
        else:
            rows.append(row)
            labels.append(found)
    return rows, labels


def _truths(batch: pa.RecordBatch, truth: Truth) -> Iterator[tuple[str, ...] | None]:
    columns = (batch.column(name).to_pylist() for name in ("sample_id", "key", "caption", "metadata"))
    return (truth(*row) for row in zip(*columns, strict=True))


class _Gathered:
    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self.left_out = {"rejected": 0, "without truth": 0}
        self._truth: list[tuple[str, ...]] = []
        self._ranked: list[list[tuple[int, float]]] = []
        self._abstained: list[bool] = []
        self._foreign: list[float] = []

    def add(
        self,
        truth: Sequence[tuple[str, ...]],
        ranked: Sequence[list[tuple[int, float]]],
        abstained: Sequence[bool] | None,
        foreign: Sequence[float | None] | None,
    ) -> None:
        self._truth += truth
        self._ranked += ranked
        self._abstained += [not row for row in ranked] if abstained is None else abstained
        self._foreign += [] if foreign is None else [np.nan if each is None else each for each in foreign]

    def predictions(self, output: str) -> Predictions:
        if not self._truth:
            raise nothing_known(output)
        width = max(1, max(map(len, self._ranked)))
        codes = np.full((len(self._ranked), width), -1, np.int64)
        scores = np.zeros((len(self._ranked), width), np.float32)
        for row, ranked in enumerate(self._ranked):
            for rank, (code, score) in enumerate(ranked):
                codes[row, rank], scores[row, rank] = code, score
        return Predictions(
            names=self.codes.names,
            codes=codes,
            scores=scores,
            truth=[tuple(dict.fromkeys(map(self.codes.of_truth, labels))) for labels in self._truth],
            abstained=np.asarray(self._abstained, np.bool_),
            foreign=np.asarray(self._foreign, np.float32) if self._foreign else None,
            left_out=self.left_out,
        )
