"""Owns which aliases a gazetteer leaves out, and why: rules by name, each with a reason that is counted.

Knows keys and shares; no file and no caption.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from curator.entities.text import INNER, Folder, tokens_of

_STOP_WORDS: Final = Path(__file__).with_name("stop_words.txt")


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes an alias useless. ``stop_words`` are folded tokens.

    An alias is left out when it is ``empty`` (punctuation only), without a letter or
    symbol (``no_letter``), ``short`` (fewer characters than
    ``min_chars``, and no emoji), ``long`` (more than ``max_tokens`` words), or of ``stop_words`` only; when it is
    ``ambiguous``: its likeliest entity has less than ``min_share`` of its mentions. Of the entities that it may mean,
    those under ``min_candidate_share`` and those beyond the ``most_candidates`` likeliest go (``unlikely``).
    """

    stop_words: frozenset[str]
    min_chars: int = 2
    max_tokens: int = 12
    min_share: float = 0.15
    min_candidate_share: float = 0.02
    most_candidates: int = 8

    def why_not(self, key: str) -> str | None:
        """The name of the rule that an alias breaks whatever it means, or None."""
        tokens = tokens_of(key)
        if not tokens:
            return "empty"
        letters = "".join(tokens).replace(INNER, "")
        if not any(character.isalpha() or unicodedata.category(character) in ("So", "Sk") for character in letters):
            return "no_letter"
        if len(tokens) > self.max_tokens:
            return "long"
        if len(letters) < self.min_chars and letters.isalpha():
            return "short"
        if self.stop_words.issuperset(tokens):
            return "stop_word"
        return None

    def settings(self) -> dict[str, int | float]:
        """The numbers, as the gazetteer's facts say them."""
        return {
            "min_chars": self.min_chars,
            "max_tokens": self.max_tokens,
            "min_share": self.min_share,
            "min_candidate_share": self.min_candidate_share,
            "most_candidates": self.most_candidates,
            "stop_words": len(self.stop_words),
        }


def stop_words(more: Sequence[str] = ()) -> frozenset[str]:
    """The words that name nothing by themselves: the English ones that ship with the package, and ``more``."""
    fold = Folder()
    lines = [line for line in _STOP_WORDS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return frozenset(token for line in (*lines, *more) for token in tokens_of("".join(fold(line)[1])))
