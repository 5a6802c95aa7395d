"""A text encoder without a model: every text has a vector of its own, made from its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from curator.kernels.vectors import l2_normalize


class HashEncoder:
    """Unit vectors seeded by the text. ``asked`` lists the texts of every call."""

    def __init__(
        self, *, dim: int = 16, digest: str = "fake", precision: str = "float32", bias: float | None = None
    ) -> None:
        self.dim = dim
        self.digest = digest
        self.precision = precision
        self.logit_scale = 20.0
        self.logit_bias = bias
        self.asked: list[list[str]] = []

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        self.asked.append(list(texts))
        return torch.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        return l2_normalize(torch.randn(self.dim, generator=torch.Generator().manual_seed(seed)))


class FastEncoder(HashEncoder):
    """Random vectors without regard to the text: for vocabularies of 100,000 labels."""

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        self.asked.append(list(texts))
        generator = torch.Generator().manual_seed(len(self.asked))
        return l2_normalize(torch.randn(len(texts), self.dim, generator=generator))
