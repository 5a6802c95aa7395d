"""Owns tries of token sequences as arrays: many prefixes are followed at once. Knows no word and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Trie:
    """A trie over N nodes, numbered level by level, so that the children of a node are neighbours; node 0 is the root.

    int64 [N] each: ``first`` child and number of children (``width``), the ``token`` that leads to a node, and the
    sequence that ends there (``leaf``, -1 within one). A leaf is reached by the end token and has no children.
    """

    first: Tensor
    width: Tensor
    token: Tensor
    leaf: Tensor

    @classmethod
    def build(cls, sequences: Sequence[Sequence[int]], end: int) -> Trie:
        """The trie of ``sequences`` without their ``end``. ValueError for an empty one, an equal pair, an end."""
        numbers = {tuple(sequence): number for number, sequence in enumerate(sequences)}
        if len(numbers) != len(sequences):
            twice = next(n for n, sequence in enumerate(sequences) if numbers[tuple(sequence)] != n)
            raise ValueError(f"sequences {twice} and {numbers[tuple(sequences[twice])]} are equal")
        if any(not sequence or end in sequence for sequence in numbers):
            raise ValueError("a sequence has at least one token, and the end only after its last")
        first, width, token, leaf = [0], [0], [end], [-1]
        level: list[tuple[int, list[tuple[int, ...]]]] = [(0, sorted(numbers))]
        depth = 0
        while level:
            below: list[tuple[int, list[tuple[int, ...]]]] = []
            for node, members in level:
                groups: dict[int, list[tuple[int, ...]]] = {}
                for member in members:
                    groups.setdefault(member[depth] if depth < len(member) else end, []).append(member)
                first[node], width[node] = len(token), len(groups)
                for step, group in groups.items():
                    ended = len(group[0]) == depth
                    if not ended:
                        below.append((len(token), group))
                    first.append(0)
                    width.append(0)
                    token.append(step)
                    leaf.append(numbers[group[0]] if ended else -1)
            level, depth = below, depth + 1
        return cls(*(torch.from_numpy(np.array(column, dtype=np.int64)) for column in (first, width, token, leaf)))

    def to(self, device: torch.device) -> Trie:
        """The same on ``device``."""
        return Trie(self.first.to(device), self.width.to(device), self.token.to(device), self.leaf.to(device))

    @property
    def leaves(self) -> int:
        """How many sequences there are."""
        return int((self.leaf >= 0).sum())

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """All children of ``nodes`` [R], one after the other [E], and for each which of ``nodes`` it belongs to [E]."""
        counts = self.width[nodes]
        parent = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), counts)
        before = counts.cumsum(0) - counts
        place = torch.arange(len(parent), device=nodes.device) - before[parent]
        return self.first[nodes][parent] + place, parent
