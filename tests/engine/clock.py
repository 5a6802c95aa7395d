"""Time that a test moves by hand. Knows nothing of what is timed."""

from __future__ import annotations


class Clock:
    """``clock()`` is the time in seconds; ``clock.advance(s)`` moves it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
