"""What the faster decode modes change: cosines to the exact mode and labels that flip. Measures, judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from curator.bench.stages import decode_all
from curator.data import Embeddings, Labels
from curator.shards.decode import Decoder

if TYPE_CHECKING:
    from curator.encoder import Encoder
    from curator.engine.encoders import Opened


@dataclass(frozen=True, slots=True)
class Fidelity:
    """A decode mode against ``exact`` over the same images: cosines of the embeddings, share of best labels changed."""

    mode: str
    images: int
    mean_cosine: float
    first_percentile_cosine: float
    min_cosine: float
    label_flips: float


def compare_modes(
    encoder: Encoder, heads: Sequence[Opened], images: Sequence[bytes], batch_size: int
) -> list[Fidelity]:
    """``close`` and ``fast`` against ``exact``, on the images given and with the run's own encoder and labels."""
    exact = _embed(encoder, images, "exact", batch_size)
    best = _best_labels(heads, exact)
    found = []
    for mode in ("close", "fast"):
        vectors = _embed(encoder, images, mode, batch_size)
        cosines = (vectors * exact).sum(dim=1)
        flips = (_best_labels(heads, vectors) != best).float().mean() if best.numel() else torch.tensor(0.0)
        first = torch.quantile(cosines, 0.01)
        found.append(
            Fidelity(mode, len(cosines), float(cosines.mean()), float(first), float(cosines.min()), float(flips))
        )
    return found


def _embed(encoder: Encoder, images: Sequence[bytes], mode: str, batch_size: int) -> torch.Tensor:
    pixels = decode_all(images, Decoder(encoder.preprocess, mode=mode))  # type: ignore[arg-type]
    return torch.cat([encoder.embed_pixels(batch).cpu() for batch in torch.split(pixels, batch_size)])


def _best_labels(heads: Sequence[Opened], vectors: torch.Tensor) -> torch.Tensor:
    """int64 [sets, N]: the best label of every label set, -1 where there is none."""
    nothing = [None] * len(vectors)
    rows = []
    for head in heads:
        for values in head(Embeddings(vectors, nothing, nothing)).values():
            if isinstance(values, Labels):
                best = torch.from_numpy(values.indices[:, 0].copy())
                rows.append(torch.where(torch.from_numpy(values.counts.copy()) > 0, best, -1))
    return torch.stack(rows) if rows else torch.empty(0, dtype=torch.int64)
