"""Owns the drawing of a sample of stored embeddings from an output. Knows no head and no encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curator.errors import ConfigError
from curator.storage.base import Storage
from curator.tables.readers import scan, vectors
from curator.tables.schema import EMBEDDING


def sample_vectors(output_url: str, storage: Storage, count: int, *, seed: int = 0) -> NDArray[np.float32]:
    """``count`` embeddings (all, where there are fewer) float32 [n, D] of an output, every ok row equally likely.

    Two runs over the same parts draw the same rows. One pass, memory for ``count`` rows: reservoir sampling by the
    ``count`` smallest of random keys. ConfigError where no row has an embedding.
    """
    generator = np.random.default_rng(seed)
    keys, kept = np.empty(0), None
    for batch in scan(output_url, storage, [EMBEDDING], only_ok=True):
        rows = _vectors(batch)
        kept = rows if kept is None else np.concatenate([kept, rows])
        keys = np.concatenate([keys, generator.random(len(rows))])
        if len(keys) > count:
            best = np.sort(np.argpartition(keys, count - 1)[:count])
            keys, kept = keys[best], kept[best]
    if kept is None or not len(kept):
        raise ConfigError(f"{output_url}: no row has an embedding to sample; see why with curator status")
    return kept


def _vectors(batch: pa.RecordBatch) -> NDArray[np.float32]:
    rows: NDArray[Any] = vectors(batch)
    return rows.astype(np.float32)
