"""Owns the bringing of a whole object into a file of this node, whatever faults come between. Knows no cache."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from curator.cache import replacing
from curator.storage.base import Entry, Storage
from curator.storage.resume import resuming
from curator.storage.urls import redact

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 8 * 2**20
_READ_AHEAD_PARTS = 4


def download(storage: Storage, entry: Entry, path: Path, *, check: Callable[[Path, str], None]) -> None:
    """Bring ``entry`` to ``path``, which has all of it at the end and nothing before.

    ``check`` looks at the file and its SHA-256 (64 hex digits) before it takes its place, and raises what is wrong with
    it. Raises a verdict where the object cannot be read.
    """
    logger.info("downloading %s (%d bytes) to %s", redact(entry.url), entry.size, path)
    digest = hashlib.sha256()
    with replacing(path) as part:
        with (
            part.open("wb") as file,
            contextlib.closing(resuming(storage, entry, read_ahead_parts=_READ_AHEAD_PARTS)) as stream,
        ):
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
        check(part, digest.hexdigest())
