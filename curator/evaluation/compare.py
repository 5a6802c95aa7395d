"""Applies heads to a labelled sample of a run's embeddings, to set them side by side. Knows no page and no method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from curator.data import Embeddings, Labels
from curator.evaluation.measure import evaluate
from curator.evaluation.predictions import Predictions, Sample, from_labels
from curator.labels.heads import HEADS, LabelSetSpec, prepare_heads, read_spec
from curator.storage import open_storage

if TYPE_CHECKING:
    from curator.data import ColumnValues
    from curator.encoder import Encoder

_ROWS = 2048


class Annotator(Protocol):
    """A head that is ready."""

    @property
    def name(self) -> str: ...

    def __call__(self, embeddings: Embeddings) -> Mapping[str, ColumnValues]: ...


def predict(head: Annotator, sample: Sample) -> Predictions:
    """What ``head`` says of the sample."""
    import torch

    said = []
    for start in range(0, len(sample.truth), _ROWS):
        rows = slice(start, start + _ROWS)
        block = torch.from_numpy(sample.vectors[rows])
        values = head(Embeddings(block, sample.captions[rows], sample.metadata[rows]))
        labels, flags = values[head.name], values.get(f"{head.name}_abstained")
        assert isinstance(labels, Labels)
        said.append((labels, None if flags is None else np.asarray(flags, np.bool_)))
    return from_labels(said, sample.truth)


def compare(
    specs: Mapping[str, LabelSetSpec],
    sample: Sample,
    encoder: Encoder,
    *,
    cache_dir: str | Path | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for each of ``specs``, in order: its name, head, and the ``measures`` that ``evaluate`` gives."""
    table = []
    for name, spec in specs.items():
        (head,) = prepare_heads([read_spec(spec, open_storage())], encoder, cache_dir=cache_dir)
        report = evaluate(predict(head, sample), samples=samples, seed=seed)
        table.append({"name": name, "head": spec.head, "rows": report["rows"], "measures": report["measures"]})
    return table


ABLATION: Sequence[tuple[str, str, str | None]] = (
    ("plain", "zero_shot", None),
    ("described (descriptors)", "dclip", "descriptions"),
    ("described (sentences)", "cupl", "descriptions"),
    ("waffled (random words)", "waffle", None),
)
"""What is set side by side to see whether descriptions help, and whether it is what they say that does."""


def ablation(spec: LabelSetSpec, descriptions: str) -> dict[str, LabelSetSpec]:
    """The plain label set, the same with descriptions by every head there is for them, and with random words instead.

    ``descriptions`` is a JSON file of texts by label: sentences, or descriptors.
    """
    return {
        name: replace(spec, head=head, options={} if option is None else {option: descriptions}, abstain={})
        for name, head, option in ABLATION
        if head in HEADS
    }
