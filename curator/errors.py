"""The verdicts: each exception names what the engine must do with it; and the way out of a word that is not known.

Owns no policy of its own and knows no room.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_LISTED = 20


class CuratorError(Exception):
    """Root of every error that Curator raises on purpose."""


class SampleError(CuratorError):
    """One sample cannot be used: it becomes a row with ``status="rejected"`` and its neighbours are not touched.

    ``reason`` is a short snake_case word that users group by (``truncated_image``); ``message`` says the particulars.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class ShardError(CuratorError):
    """The shard itself is at fault, so trying again cannot help: it is quarantined at once and the run goes on."""


class NotFoundError(ShardError):
    """The object does not exist (404, ENOENT)."""


class ForbiddenError(ShardError):
    """The object may not be read or written with these credentials (401, 403, EACCES)."""


class ReplacedError(ShardError):
    """The object changed while it was being read (its ETag is another one): what was read so far must not be used."""


class RetryableError(CuratorError):
    """A fault that may pass (timeout, 5xx, throttling, cut body): attempt + 1 with backoff, quarantine at the limit."""


class ConfigError(CuratorError):
    """The run cannot start as asked: exit status 2 before any actor starts, with the way out in the message."""


class ExistsError(CuratorError):
    """An exclusive create found the name taken. Callers decide what that means (another attempt's receipt, a lock)."""


def nearest(word: str, words: Iterable[str], otherwise: str | None = None, *, most: int = 1) -> str:
    """The end of a message about a word that is not known: the ``most`` that it may have meant.

    Where none is like it, ``otherwise``, or else what there is, in its order or by the alphabet.
    """
    known = words if isinstance(words, Sequence) else sorted(words)
    close = difflib.get_close_matches(word, known, n=most, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    if otherwise is not None:
        return otherwise
    more = ", …" if len(known) > _LISTED else ""
    return f"there are {', '.join(known[:_LISTED]) or 'none'}{more}"
