"""Owns heads that need the scores of all labels at once: batches in blocks of bounded memory, scores to columns.

Knows no formula: a subclass gives the scores of a block.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, ColumnValues, Embeddings, Labels, TextBank
from curator.labels.banks import build_bank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import fault

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_FLOATS = 2**23
"""The floats of the largest intermediate of a block: 32 MiB in float32."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a head says of b rows: ``probabilities`` [b, C] of all labels, and values of its other columns."""

    probabilities: Tensor
    extra: Mapping[str, ColumnValues] = field(default_factory=dict)


class DenseHead(ZeroShotHead):
    """A head that scores blocks of rows against all labels, for heads that cannot be one vector per label.

    ``width`` is the number of floats that a row needs at most; blocks are as many rows as fit into BLOCK_FLOATS.
    """

    @abstractmethod
    def score(self, vectors: Tensor) -> Scored:
        """The block's scores: ``vectors`` is float32 [b, D]. Every row is scored by itself."""

    @property
    def width(self) -> int:
        return len(self._bank.names)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        blocks = [self._block(vectors) for vectors in row_blocks(embeddings.vectors, self.width)]
        return {name: concatenated([block[name] for block in blocks]) for name in blocks[0]}

    def _block(self, vectors: Tensor) -> dict[str, ColumnValues]:
        from curator.kernels.ranking import largest
        from curator.kernels.scoring import decide

        scored = self.score(vectors)
        k = min(self._spec.top_k, scored.probabilities.shape[1])
        scores, indices = largest(scored.probabilities, max(k, 2))
        counts, abstained = decide(scores, k=k, min_score=self._spec.min_score, min_margin=self._spec.min_margin)
        labels = ranked_labels(self._bank, scores[:, :k], indices[:, :k], counts)
        return {self.name: labels, f"{self.name}_abstained": abstained.cpu().numpy(), **scored.extra}

    def probabilities(self, logits_over_scale: Tensor) -> Tensor:
        """Softmax or sigmoid, as the label set says, of cosines [b, C]."""
        from curator.kernels.scoring import probabilities

        return probabilities(logits_over_scale, scale=self._scale, bias=self._bias, family=self._family)

    def ranked(self, bank: TextBank, scores: Tensor) -> Labels:
        """The best ``top_k`` of another bank's names, for a further column of labels."""
        from curator.kernels.ranking import largest

        best, indices = largest(scores, self._spec.top_k)
        return ranked_labels(bank, best, indices)


def ranked_labels(bank: TextBank, scores: Tensor, indices: Tensor, counts: Tensor | None = None) -> Labels:
    """Labels of ``bank`` by ``indices`` [b, k], best first. All k count unless ``counts`` [b] says otherwise."""
    kept = np.full(len(scores), scores.shape[1], np.int64) if counts is None else counts.cpu().numpy()
    return Labels(bank.ids, bank.names, indices.cpu().numpy(), scores.float().cpu().numpy(), kept)


def row_blocks(vectors: Tensor, width: int) -> Iterator[Tensor]:
    """``vectors`` [B, D] in blocks of rows of ``width`` floats that fit into BLOCK_FLOATS; one block where B is 0."""
    rows = max(1, BLOCK_FLOATS // max(width, 1))
    for start in range(0, max(len(vectors), 1), rows):
        yield vectors[start : start + rows]


def concatenated(values: Sequence[ColumnValues]) -> ColumnValues:
    """The values of one column from the blocks of a batch, in order."""
    first = values[0]
    if len(values) == 1:
        return first
    if isinstance(first, Labels):
        parts = cast("Sequence[Labels]", values)
        return replace(
            first,
            indices=np.concatenate([part.indices for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            counts=np.concatenate([part.counts for part in parts]),
        )
    if isinstance(first, np.ndarray):
        return np.concatenate(cast("Sequence[Any]", values))
    return list(chain.from_iterable(cast("Sequence[Sequence[Any]]", values)))


def strings_column(spec: LabelSetSpec, suffix: str, description: str) -> ColumnSpec:
    return ColumnSpec(f"{spec.name}_{suffix}", "strings", description)


def template_banks(
    spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None
) -> tuple[tuple[TextBank, ...], str]:
    """A bank of class embeddings per template of the label set, and one digest of them all.

    ConfigError for labels with own templates: templates can only be weighed where all labels share them.
    """
    import hashlib

    own = [label.name for label in spec.vocabulary.labels if label.templates]
    if own:
        raise fault(spec, f"weighs templates that all labels share, but {own[0]!r} has its own")
    banks = tuple(build_bank(spec.vocabulary, (each,), encoder, cache_dir=cache_dir) for each in spec.templates)
    return banks, hashlib.sha256("\n".join(bank.digest for bank in banks).encode()).hexdigest()
