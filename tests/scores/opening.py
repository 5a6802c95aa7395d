"""Score annotators opened as a worker does, without a model: texts have made-up vectors, files lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.annotators import Annotator, AnnotatorSpec, Means, TextVectors, method_of
from curator.data import Embeddings, Labels
from curator.scores import METHODS
from curator.storage import MemoryStorage, Storage
from tests.labels.fakes import HashEncoder

DIM = 32


class CpuEncoder(HashEncoder):
    device = torch.device("cpu")


def open_score(
    method: str, *, storage: Storage | None = None, encoder: CpuEncoder | None = None, name: str = "it", **options: Any
) -> Annotator:
    """Read by the driver, then opened by a worker."""
    storage = storage or MemoryStorage()
    encoder = encoder or CpuEncoder(dim=DIM)
    spec = AnnotatorSpec(name, method, options)
    spec = method_of(spec, METHODS, "scores").read(spec, storage)
    return METHODS[method].open(spec, Means(encoder, TextVectors(encoder), storage, None, 1))


def images(
    captions: Sequence[str | None],
    *,
    vectors: torch.Tensor | None = None,
    sizes: Sequence[tuple[int, int] | None] | None = None,
    pixels: Sequence[NDArray[np.uint8]] | None = None,
) -> Embeddings:
    n = len(captions)
    if vectors is None:
        vectors = torch.nn.functional.normalize(torch.randn(n, DIM, generator=torch.Generator().manual_seed(0)), dim=1)
    return Embeddings(vectors, captions, [None] * n, sizes if sizes is not None else [(64, 48)] * n, pixels)


def rows_of(labels: Labels) -> list[list[tuple[str, str, float]]]:
    return [
        [
            (labels.ids[index], labels.names[index], float(score))
            for index, score in zip(indices[:count], scores[:count], strict=True)
        ]
        for indices, scores, count in zip(labels.indices, labels.scores, labels.counts, strict=True)
    ]
