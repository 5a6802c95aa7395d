"""Owns how a tokenizer spells a text: its own ids without what it puts around them, and ids as pieces of text.

Knows CLIP's tokenizer of open_clip and those of transformers behind open_clip's wrapper, and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor


def spell(tokenizer: Callable[[list[str]], Tensor], texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text, without the marks of beginning and end and the padding: what "" is spelled with."""
    around = set(tokenizer([""]).flatten().tolist())
    return [_bare(row, around) for row in tokenizer(list(texts)).tolist()] if texts else []


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token by itself, with the space where a word begins or ends: put together, they are the text."""
    foreign = getattr(tokenizer, "tokenizer", None)
    if foreign is not None:
        return [piece.replace("▁", " ").replace("Ġ", " ") for piece in foreign.convert_ids_to_tokens(list(ids))]
    return [tokenizer.decode([number]) for number in ids]


def _bare(row: list[int], around: set[int]) -> list[int]:
    first, last = 0, len(row)
    while first < last and row[first] in around:
        first += 1
    while last > first and row[last - 1] in around:
        last -= 1
    return row[first:last]
