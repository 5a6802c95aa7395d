"""Owns where things that can be made again are kept on this node, the lock under which they are made, and how a file
appears whole or not at all.

Knows nothing of what is kept.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from curator.errors import RetryableError

logger = logging.getLogger(__name__)


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """``cache_dir`` if given, else ``$XDG_CACHE_HOME/curator`` or ``~/.cache/curator``."""
    if cache_dir:
        return Path(cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curator"


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock file ``path`` against every other process of this node.

    Where it cannot be created (a read-only home) the block runs without it: the lock saves work, and what is kept is
    replaced atomically anyway. Raises RetryableError if another process holds it for ``timeout_s`` seconds.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=timeout_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RetryableError(f"another process held {path} for {timeout_s:.0f} s; see whether it hangs") from error
    except OSError as error:
        logger.warning("cannot lock %s (%s): going on without the lock", path, error)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` that takes its place at the end of the block, and is gone if the block fails.

    Each block has a path of its own, so that of several processes the last one stands, and whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
