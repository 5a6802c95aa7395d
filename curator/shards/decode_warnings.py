"""Silence for Pillow's warnings in the threads that decode, and only there. Owns one warning filter and no policy.

``warnings.catch_warnings`` swaps the filters of the whole process, so two threads that use it undo each other's work.
Here one filter entry stands first, which matches any warning while its own thread decodes, and none at other times.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_state = threading.local()


class _Decoding:
    """Stands where the filters have a pattern for the message: ``match`` is all that ``warnings`` asks of it."""

    def match(self, message: str) -> bool:
        return getattr(_state, "decoding", False)


_ENTRY: Final[Any] = ("ignore", _Decoding(), Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning of this thread is shown or raised inside; other threads' warnings go their way."""
    filters: Any = warnings.filters
    if not filters or filters[0] is not _ENTRY:
        filters.insert(0, _ENTRY)
    _state.decoding = True
    try:
        yield
    finally:
        _state.decoding = False
