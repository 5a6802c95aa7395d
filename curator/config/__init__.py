"""The configuration of a run: TOML in, checked values out, and the digest of what shapes the rows.

Knows no room: only the engine's composition, the CLI and the library's front door read it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from curator.config.loading import load_config
from curator.config.sections import (
    AnnotatorConfig,
    Config,
    DecodeConfig,
    EncoderConfig,
    InputConfig,
    LabelSetConfig,
    OutputConfig,
    RayConfig,
    RunConfig,
    StorageConfig,
)
from curator.config.shorthand import with_annotators

__all__ = [
    "AnnotatorConfig",
    "Config",
    "DecodeConfig",
    "EncoderConfig",
    "InputConfig",
    "LabelSetConfig",
    "OutputConfig",
    "RayConfig",
    "RunConfig",
    "StorageConfig",
    "digest_of",
    "load_config",
    "with_annotators",
]


def digest_of(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
