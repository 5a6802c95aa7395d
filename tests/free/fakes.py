"""An encoder and a bank of captions without a model and without files: every text has a vector made from its bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curator.annotators import AnnotatorSpec, Means, TextVectors
from curator.data import Embeddings
from curator.storage import open_storage
from tests.labels.fakes import HashEncoder


class Speaker(HashEncoder):
    """A text encoder on the CPU. ``same`` maps texts to texts whose vector they share."""

    device = torch.device("cpu")

    def __init__(self, *, dim: int = 32, same: dict[str, str] | None = None) -> None:
        super().__init__(dim=dim)
        self._same = same or {}

    def vector(self, text: str) -> Tensor:
        return super().vector(self._same.get(text, text))


class FakeBank:
    """Captions in memory, searched one by one."""

    def __init__(self, captions: Sequence[str], vectors: Tensor) -> None:
        self.captions = list(captions)
        self.rows = vectors
        self.searches = 0

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        self.searches += 1
        scores, order = (queries @ self.rows.T).sort(dim=1, descending=True, stable=True)
        missing = (0, max(0, k - len(self.captions)))
        pad = torch.nn.functional.pad
        return pad(scores[:, :k], missing, value=-torch.inf), pad(order[:, :k], missing, value=-1)

    def texts(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.captions[index] for index in indices.tolist()]

    def vectors(self, indices: NDArray[np.int64]) -> Tensor:
        return self.rows[torch.from_numpy(indices)]


def means(encoder: Speaker, cache_dir: str | None = None) -> Means:
    return Means(encoder, TextVectors(encoder), open_storage(), cache_dir, 1)


def spec(method: str, name: str = "free", **options: object) -> AnnotatorSpec:
    return AnnotatorSpec(name, method, options)


def embeddings(
    vectors: Tensor, captions: Sequence[str | None] = (), metadata: Sequence[bytes | None] = ()
) -> Embeddings:
    """Rows with nothing but what is given."""
    nothing = [None] * len(vectors)
    return Embeddings(vectors, captions or nothing, metadata or nothing)


class Writer(Speaker):
    """A speaker with a tokenizer: a token a word, lower case, its id made of its letters. ``dies_after`` batches."""

    name = "writer"

    def __init__(self, *, dim: int = 32, digest: str = "fake", dies_after: int | None = None) -> None:
        super().__init__(dim=dim)
        self.digest = digest
        self._left = dies_after

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        if self._left is not None:
            if not self._left:
                raise RuntimeError("out of breath")
            self._left -= 1
        return super().embed_text(texts)

    def vector(self, text: str) -> Tensor:
        """The mean of the vectors of its longer words: texts about the same thing are near each other."""
        words = [
            word for word in text.lower().replace(".", "").split() if word not in {"a", "the", "of", "photo", "and"}
        ]
        return torch.nn.functional.normalize(
            torch.stack([Speaker.vector(self, word) for word in words]).sum(dim=0), dim=0
        )

    def spell(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int.from_bytes(word.encode(), "big") for word in text.lower().split()] for text in texts]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [number.to_bytes((number.bit_length() + 7) // 8, "big").decode() + " " for number in ids]
