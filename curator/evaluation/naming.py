"""Owns what free labels are measured by beside being right: clusters, words in common, meaning. Knows no page.

Measures of Conti et al., "Vocabulary-free Image Classification", NeurIPS 2023; theirs take the best label of a row.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curator.engine.compose import run_encoder
from curator.errors import ConfigError
from curator.evaluation.predictions import Predictions
from curator.kernels.naming_metrics import cluster_accuracy, words_in_common
from curator.storage import Storage

Sentences: TypeAlias = "Callable[[list[str]], Any]"
"""From texts to their vectors [N, D], as the ``encode`` of sentence-transformers."""


@dataclass(frozen=True, slots=True)
class Named:
    """Values by row, [N]; ``similarity`` is None where there is no sentence encoder."""

    cluster_accuracy: float
    iou: NDArray[np.float64]
    similarity: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Naming:
    """The measures of free labels with the sentence encoder that judges their meaning; ``sentences`` is its name."""

    sentences: str
    encode: Sentences | None

    def __call__(self, found: Predictions) -> Named:
        """The best label of each row against its true name: the best of several, but for clusters the first."""
        best = [found.names[code] if code >= 0 else "" for code in found.codes[:, 0].tolist()]
        truth = [[found.names[code] for code in row] for row in found.truth]
        iou = [
            max((words_in_common(name, each) for each in row), default=0.0)
            for name, row in zip(best, truth, strict=True)
        ]
        return Named(
            cluster_accuracy(best, [row[0] if row else "" for row in truth]),
            np.array(iou),
            None if self.encode is None else _similarity(best, truth, self.encode),
        )


def _similarity(best: Sequence[str], truth: Sequence[Sequence[str]], encode: Sentences) -> NDArray[np.float64]:
    """The cosine of each name with the nearest of its true ones; 0 where a row has no label or no true name."""
    texts = list(dict.fromkeys([*best, *(name for row in truth for name in row)]))
    vectors = np.asarray(encode(texts), np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    place = {text: row for row, text in enumerate(texts)}
    return np.array(
        [
            max((float(vectors[place[name]] @ vectors[place[each]]) for each in row), default=0.0) if name else 0.0
            for name, row in zip(best, truth, strict=True)
        ]
    )


def open_naming(source: str, output: str, storage: Storage) -> Naming:
    """``encoder``: the text tower of the run at ``output``; ``none``; or ``package.module:callable``. ConfigError."""
    if source == "none":
        return Naming("none", None)
    if source == "encoder":
        _, encoder = run_encoder(output, storage)
        return Naming(f"the text tower of {encoder.name}", lambda texts: encoder.embed_text(texts).cpu().numpy())
    module, colon, name = source.partition(":")
    try:
        encode = getattr(importlib.import_module(module), name) if colon else None
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--sentences {source}: {error}") from error
    if not callable(encode):
        raise ConfigError(f"--sentences {source}: give encoder, none, or package.module:callable")
    return Naming(source, encode)
