"""Owns exemplar files: one unit vector per entity, and how many images it is the mean of, bound to an encoder.

A Parquet file with its facts in the footer. Knows no run and no caption.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curator.cache import replacing
from curator.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT: Final = "curator-exemplars-1"
Pool = Literal["image", "image+text"]


@dataclass(frozen=True, slots=True)
class Exemplars:
    """N entities: ``vectors`` float32 [N, D] of unit norm, ``evidence`` int64 [N] images each.

    ``pool`` says of what: the images' embeddings, or their means with those of their captions.
    """

    ids: Sequence[str]
    names: Sequence[str]
    evidence: NDArray[np.int64]
    vectors: NDArray[np.float32]
    pool: Pool
    encoder_digest: str

    @property
    def digest(self) -> str:
        """64 hex digits of all of it."""
        digest = hashlib.sha256(json.dumps([FORMAT, self.pool, self.encoder_digest]).encode())
        digest.update(json.dumps([list(self.ids), list(self.names)]).encode())
        digest.update(np.ascontiguousarray(self.vectors, np.float32).tobytes())
        return digest.hexdigest()


def write_exemplars(path: Path, exemplars: Exemplars) -> None:
    """Write the file at ``path``, replacing what is there when it is whole."""
    dim = exemplars.vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(exemplars.vectors, np.float32).reshape(-1))
    facts = {"pool": exemplars.pool, "encoder_digest": exemplars.encoder_digest, "digest": exemplars.digest}
    table = pa.table(
        {
            "entity_id": pa.array(exemplars.ids, pa.string()),
            "name": pa.array(exemplars.names, pa.string()),
            "evidence": pa.array(exemplars.evidence, pa.int64()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
        }
    ).replace_schema_metadata({"format": FORMAT, "facts": json.dumps(facts)})
    with replacing(path) as part:
        pq.write_table(table, part)


def read_exemplars(path: Path) -> Exemplars:
    """The exemplars at ``path``. ConfigError where they are missing, of something else or damaged."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path}: no exemplars ({error}); make them with `curator entities harvest`") from error
    metadata = table.schema.metadata or {}
    if metadata.get(b"format") != FORMAT.encode():
        raise ConfigError(f"{path}: not a file of exemplars ({FORMAT}); make one with `curator entities harvest`")
    facts = json.loads(metadata[b"facts"])
    column = table.column("vector").combine_chunks()
    exemplars = Exemplars(
        table.column("entity_id").to_pylist(),
        table.column("name").to_pylist(),
        table.column("evidence").to_numpy(),
        column.values.to_numpy().reshape(-1, column.type.list_size),
        facts["pool"],
        facts["encoder_digest"],
    )
    if exemplars.digest != facts["digest"]:
        raise ConfigError(f"{path}: its content is not what its footer says; copy it or harvest it again")
    return exemplars


def pooled_with_captions(
    images: Tensor, captions: Sequence[str | None], texts: Callable[[Sequence[str]], Tensor]
) -> Tensor:
    """The pooled vectors [B, D] of images and their captions; of an image without caption, its own."""
    from curator.kernels.entities import pooled

    rows = [row for row, caption in enumerate(captions) if caption]
    both = images.float().clone()
    if rows:
        both[rows] = pooled(both[rows], texts([caption for caption in captions if caption]))
    return both
