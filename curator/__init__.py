"""Curator as a library: the main job as one function, and the rooms' front doors. Imports nothing heavy by itself."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curator.api import label, load_config, open_dataset, pack, relabel
    from curator.config import Config
    from curator.encoder import Encoder
    from curator.engine.progress import Summary
    from curator.shards.decode import Decoder
    from curator.shards.manifest import expand
    from curator.shards.reader import read_samples
    from curator.storage import open_storage

__all__ = [
    "Config",
    "Decoder",
    "Encoder",
    "Summary",
    "expand",
    "label",
    "load_config",
    "open_dataset",
    "open_storage",
    "pack",
    "read_samples",
    "relabel",
]

_HOMES = {
    "Config": "curator.config",
    "Decoder": "curator.shards.decode",
    "Encoder": "curator.encoder",
    "Summary": "curator.engine.progress",
    "expand": "curator.shards.manifest",
    "label": "curator.api",
    "load_config": "curator.api",
    "open_dataset": "curator.api",
    "open_storage": "curator.storage",
    "pack": "curator.api",
    "read_samples": "curator.shards.reader",
    "relabel": "curator.api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("curator")
    if name not in _HOMES:
        raise AttributeError(f"module 'curator' has no attribute {name!r}; it exports {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
