"""How much may be under way at once: a bound on images and one on their bytes. Knows nothing of what they are."""

from __future__ import annotations

import threading


class Room:
    """Room for ``images`` images whose encoded bytes together stay within ``limit_bytes``.

    An image larger than all of ``limit_bytes`` gets in once it is alone, so that every image can pass.
    """

    def __init__(self, images: int, limit_bytes: int) -> None:
        self._images = images
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._changed = threading.Condition()

    def enter(self, size: int, timeout_s: float = 0.0) -> bool:
        """Take room for one image of ``size`` bytes; False where there is none within ``timeout_s``."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(size), timeout_s):
                return False
            self._images -= 1
            self._bytes += size
            return True

    def _fits(self, size: int) -> bool:
        return self._images > 0 and (not self._bytes or self._bytes + size <= self._limit_bytes)

    def decoded(self, size: int) -> None:
        """The image's encoded bytes are no longer held."""
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()

    def leave(self) -> None:
        """One image is no longer under way."""
        with self._changed:
            self._images += 1
            self._changed.notify_all()
