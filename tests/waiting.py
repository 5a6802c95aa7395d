"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(what: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Look again and again until ``what`` holds; fails where it does not within ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.005)
