"""Owns the list of encoders that can be named, and which is embedded. Loads no weights, and nothing heavy on import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EMBEDDED = "embedded"
EMBEDDED_DIRECTORY = Path(__file__).parent / "embedded"
UNTRAINED = "random"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An architecture and one of its pretrained tags. ``embedded`` ships in the package and needs no download."""

    name: str
    pretrained: str
    embedded: bool = False


def checkpoints() -> list[Checkpoint]:
    """Every checkpoint that can be opened by name and tag: the embedded one first, then open_clip's in its order."""
    import open_clip

    listed = [Checkpoint(name, tag) for name, tag in open_clip.list_pretrained()]
    present = (EMBEDDED_DIRECTORY / "open_clip_config.json").is_file()
    return [Checkpoint(EMBEDDED, "", embedded=True), *listed] if present else listed
