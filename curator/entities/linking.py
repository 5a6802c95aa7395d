"""Owns which gazetteer file a method reads: its digest for the driver, the file itself for a worker.

Knows no caption and no image.
"""

from __future__ import annotations

from curator.annotators import AnnotatorSpec, Means
from curator.entities.gazetteer import Gazetteer, check, facts_at_head
from curator.entities.places import local_copy
from curator.errors import ConfigError, NotFoundError
from curator.options import named, unchanged
from curator.storage.base import Storage

_HEAD_BYTES = 1 << 20


def gazetteer_digest(spec: AnnotatorSpec, storage: Storage) -> str:
    """The digest of the file that the option ``gazetteer`` names, from its head. ConfigError where there is none."""
    url = named(spec, "gazetteer", "a file of `curator gazetteer build`")
    try:
        stream = storage.open(url, length=_HEAD_BYTES)
    except NotFoundError as error:
        raise ConfigError(f"{url}: no gazetteer here; make one with `curator gazetteer build`") from error
    try:
        head = b""
        while block := stream.read(_HEAD_BYTES):
            head += block
    finally:
        stream.close()
    return str(facts_at_head(head, url)["digest"])


def open_gazetteer(spec: AnnotatorSpec, means: Means) -> Gazetteer:
    """The gazetteer that the driver saw. ConfigError where it is another one by now."""
    url = str(spec.options["gazetteer"])
    gazetteer = Gazetteer.open(local_copy(url, means.storage, cache_dir=means.cache_dir, check=check))
    unchanged(spec, "gazetteer", gazetteer.digest)
    return gazetteer
