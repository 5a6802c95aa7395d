"""Entity tags: the methods by the names that a config gives them."""

from __future__ import annotations

from curator.annotators import Annotator
from curator.entities.geo import GeoAnnotator
from curator.entities.instances import ClippingsAnnotator, RegistryAnnotator
from curator.entities.mofi import MofiAnnotator
from curator.entities.nearest import NearestAnnotator

METHODS: dict[str, type[Annotator]] = {
    "mofi": MofiAnnotator,
    "nearest": NearestAnnotator,
    "registry": RegistryAnnotator,
    "clippings": ClippingsAnnotator,
    "geo": GeoAnnotator,
}
