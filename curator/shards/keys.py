"""A set of keys in 8 bytes each, so that a shard of any size can be checked for a key that comes back. Knows no tar."""

from __future__ import annotations

from typing import Final

import numpy as np

_RECENT: Final = 1 << 16


class SeenKeys:
    """Remembers keys by a 64-bit hash: about 8 bytes a key beyond the latest 65,536.

    The hash is Python's, keyed anew in each process, so nobody can prepare names that collide. Among n distinct keys
    the chance of one false hit is n² / 2^65: 3e-8 for a million.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._older = np.empty(0, np.int64)

    def __contains__(self, key: str) -> bool:
        digest = hash(key)
        if digest in self._recent:
            return True
        if not len(self._older):
            return False
        place = int(self._older.searchsorted(digest))
        return place < len(self._older) and int(self._older[place]) == digest

    def add(self, key: str) -> None:
        self._recent.add(hash(key))
        if len(self._recent) > _RECENT:
            recent = np.fromiter(self._recent, np.int64, len(self._recent))
            self._older = np.union1d(self._older, recent)
            self._recent.clear()
