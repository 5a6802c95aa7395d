"""Entity tags: the methods by the names that a config gives them."""

from __future__ import annotations

from curator.annotators import Annotator
from curator.entities.mofi import MofiAnnotator

METHODS: dict[str, type[Annotator]] = {
    "mofi": MofiAnnotator,
}
