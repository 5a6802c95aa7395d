"""Owns the share of each word of a caption in its similarity to the image. Strings and numbers; knows no encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_INNER = r"\w'\u2019-"
_WORD = re.compile(rf"\w[{_INNER}]*")
_STOP = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "into", "is", "it", "its",
        "of", "off", "on", "or", "over", "that", "the", "their", "this", "to", "under", "was", "were", "which", "with",
    )
)  # fmt: skip


def content_words(caption: str, limit: int) -> list[str]:
    """The words that may be wrong: the caption's first ``limit`` different ones, as written, without function words."""
    found: dict[str, str] = {}
    for word in _WORD.findall(caption):
        folded = word.casefold()
        if folded not in _STOP and folded not in found:
            found[folded] = word
        if len(found) == limit:
            break
    return list(found.values())


def without(caption: str, word: str) -> str:
    """The caption with every occurrence of the whole word, whatever its case, left out."""
    gone = re.sub(rf"(?<![{_INNER}]){re.escape(word)}(?![{_INNER}])", " ", caption, flags=re.IGNORECASE)
    return " ".join(gone.split())


def leave_one_out(whole: float, others: Sequence[float]) -> NDArray[np.float32]:
    """What each word adds to the similarity: that of the whole caption less that of the caption without the word."""
    shares: NDArray[np.float32] = np.float32(whole) - np.asarray(others, np.float32)
    return shares


def penalised(whole: float, shares: NDArray[np.float32], threshold: float) -> float:
    """The similarity with the shares below ``threshold`` added: misaligned words count twice against the caption.

    After F-CLIPScore (Nam et al. 2024, "Extract Free Dense Misalignment from CLIP"), which adds negative attributions
    to the global score; there they come from gradients, here from leaving words out.
    """
    return float(whole + shares[shares < threshold].sum())
