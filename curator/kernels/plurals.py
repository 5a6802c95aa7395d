"""Owns singular and plural of English words. Knows no caption and no label."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import inflect

_LOCK = threading.Lock()


@lru_cache(maxsize=1)
def _engine() -> inflect.engine:
    with _unchecked():
        import inflect

    return inflect.engine()


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """What is imported meanwhile is not rewritten by typeguard.

    inflect has typeguard check the arguments of all its functions: the rewriting costs nearly two seconds of a core at
    import, in every worker, and the checks make each call three times as slow. What is passed here is text.
    """
    try:
        import typeguard
    except ImportError:  # inflect before 7.2 did without
        yield
        return
    checked = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = checked


@lru_cache(maxsize=1 << 16)
def singular(word: str) -> str:
    """The singular of ``word`` as inflect knows it; the word itself where it is one already."""
    with _LOCK:
        return _engine().singular_noun(word) or word


def plural(noun: str) -> str:
    """The plural of ``noun`` as inflect forms it."""
    with _LOCK:
        return str(_engine().plural_noun(noun))


def singular_phrase(phrase: str) -> str:
    """A phrase of which the last word is put in the singular; words in -ss, -us and -is stay."""
    head, space, last = phrase.rpartition(" ")
    if not last.endswith("s") or last.endswith(("ss", "us", "is")) or not last.isalpha():
        return phrase
    return f"{head}{space}{singular(last)}"
