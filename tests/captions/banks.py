"""Small caption banks written without an encoder: seeded unit vectors under given or numbered texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from curator.captions.facts import FACTS, BankFacts, content_digest, text_key
from curator.captions.writer import BankWriter
from curator.kernels.vectors import l2_normalize
from curator.storage import Storage, join


def units(rows: int, dim: int, seed: int = 0) -> Tensor:
    return l2_normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)))


def write_bank(
    storage: Storage,
    url: str,
    vectors: Tensor,
    texts: Sequence[str] | None = None,
    *,
    encoder_digest: str = "fake",
    precision: str = "float32",
    portion: int = 1000,
) -> BankFacts:
    """Write a bank of ``vectors`` [N, D], in portions, as a build does."""
    rows, dim = vectors.shape
    texts = [f"caption {row}" for row in range(rows)] if texts is None else texts
    digest = content_digest(encoder_digest, precision, dim, b"".join(map(text_key, texts)))
    with BankWriter(storage, url, name=digest[:16], dim=dim, count=rows) as writer:
        for start in range(0, rows, portion):
            block = np.ascontiguousarray(vectors[start : start + portion].half().numpy())
            writer.append(block, texts[start : start + portion])
        vectors_file, texts_file = writer.commit()
    facts = BankFacts(
        digest=digest,
        encoder="fake",
        encoder_digest=encoder_digest,
        precision=precision,
        dim=dim,
        count=rows,
        vectors=vectors_file,
        texts=texts_file,
    )
    storage.write(join(url, FACTS), facts.to_json())
    return facts
