"""The OpenCLIP encoder: images and texts to unit vectors. Knows nothing of shards, labels or where images come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curator.encoder.catalog import Checkpoint, checkpoints
    from curator.encoder.encoder import Encoder

__all__ = ["Checkpoint", "Encoder", "checkpoints"]


def __getattr__(name: str) -> Any:
    if name == "Encoder":
        from curator.encoder.encoder import Encoder

        return Encoder
    if name in ("Checkpoint", "checkpoints"):
        from curator.encoder import catalog

        return getattr(catalog, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
