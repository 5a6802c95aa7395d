"""Owns lists of texts by label, each different text embedded once. Knows neither where they come from nor their use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from curator.annotators import TextEncoder
from curator.data import TextBank
from curator.labels.banks import text_bank
from curator.labels.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """``lists`` holds, for each label, positions into ``unique``, the different texts of all labels."""

    unique: tuple[str, ...]
    lists: tuple[tuple[int, ...], ...]

    @cached_property
    def rows(self) -> Tensor:
        """The positions of all lists one after another, int64 [N]."""
        import torch

        return torch.tensor([row for own in self.lists for row in own], dtype=torch.long)

    @cached_property
    def owners(self) -> Tensor:
        """The label of each of ``rows``, int64 [N]."""
        import torch

        return torch.tensor([label for label, own in enumerate(self.lists) for _ in own], dtype=torch.long)

    def class_bank(self, vocabulary: Vocabulary, encoder: TextEncoder, cache_dir: str | Path | None) -> TextBank:
        """A class embedding for each label: the renormalised mean over its texts. The lists are the vocabulary's."""
        from curator.kernels.vectors import class_means

        bank = text_bank(self.unique, encoder, cache_dir=cache_dir)
        vectors = class_means(bank.vectors[self.rows], self.owners, len(vocabulary))
        return TextBank(vocabulary.ids, vocabulary.names, vectors, self.digest(bank))

    def digest(self, bank: TextBank) -> str:
        """64 hex digits of what the bank of ``unique`` and the lists make together."""
        return hashlib.sha256(f"{bank.digest}{self.lists}".encode()).hexdigest()


def ragged(texts: Sequence[Sequence[str]]) -> Ragged:
    """``texts`` by label, repeats within a list left out."""
    positions: dict[str, int] = {}
    lists = [tuple(positions.setdefault(text, len(positions)) for text in dict.fromkeys(own)) for own in texts]
    return Ragged(tuple(positions), tuple(lists))
