"""How long to wait before trying again, and how often. Owns full-jitter backoff; knows no request and no url."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from curator.errors import RetryableError

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounded attempts with exponential waits and full jitter: a uniform draw from [0, min(cap, base * 2^(n-1))].

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (the "full jitter" line).
    ``sleep`` and ``draw`` (uniform on [0, 1)) are given by tests.
    """

    attempts: int = 5
    base_s: float = 0.5
    cap_s: float = 20.0
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after the n-th failure in a row, n from 1."""
        return self.draw() * min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 60))

    def pause(self, failures: int, what: str, error: Exception) -> None:
        """Say what failed and wait."""
        wait_s = self.wait_s(failures)
        logger.warning("storage fault at=%s failures=%d wait_s=%.2f error=%s", what, failures, wait_s, error)
        self.sleep(wait_s)

    def call(self, attempt: Callable[[], _T], what: str) -> _T:
        """``attempt()``, again while it raises RetryableError and attempts are left; then that error."""
        for failures in range(1, self.attempts):
            try:
                return attempt()
            except RetryableError as error:
                self.pause(failures, what, error)
        return attempt()
