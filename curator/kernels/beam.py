"""Owns beam search over token sequences, for many rows at once. Knows no network: what comes next is asked of one.

A guide says what may come next: a trie (NOVIC's "plain" guidance: the probabilities stay those over all tokens), or
nothing but a greatest length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from curator.kernels.trie import Trie


class Continuation(Protocol):
    """What a search needs of a decoder that holds the state of the prefixes last asked about."""

    def begin(self) -> Tensor:
        """Logits [B, V] of the first token of each of B rows."""
        ...

    def proceed(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Logits [S, V] after ``tokens`` [S], each following the prefix ``parents`` [S] of those last given."""
        ...


@dataclass(frozen=True)
class Steps:
    """What may follow R prefixes, [E] each and in the order of the prefixes: the prefix that a step goes on from, its
    token and log-probability, the guide's number of where it leads, and whether the sequence ends there."""

    parent: Tensor
    token: Tensor
    gain: Tensor
    node: Tensor
    ended: Tensor


class Guide(Protocol):
    """What may be said. Node 0 is where nothing has been said yet."""

    def steps(self, nodes: Tensor, logits: Tensor) -> Steps:
        """The steps from ``nodes`` [R], all of one length, whose next tokens have ``logits`` [R, V]."""
        ...


class TrieGuide:
    """The sequences of a trie and no other."""

    def __init__(self, trie: Trie) -> None:
        self._trie = trie

    def steps(self, nodes: Tensor, logits: Tensor) -> Steps:
        """One step for every child of every node."""
        child, parent = self._trie.children(nodes)
        token = self._trie.token[child]
        gain = logits[parent, token] - logits.logsumexp(dim=1)[parent]
        return Steps(parent, token, gain, child, self._trie.leaf[child] >= 0)


class FreeGuide:
    """Any sequence of 1 to ``longest`` - 1 tokens and its ``end``; of each prefix's steps, the best ``width``.

    Nodes are numbered as they are reached, and ``spelled`` reads back how one was. For one search.
    """

    def __init__(self, longest: int, end: int, width: int) -> None:
        self._longest, self._end, self._width = longest, end, width
        self._parents = [torch.zeros(1, dtype=torch.long)]
        self._tokens = [torch.full((1,), end)]
        self._count = 1

    def steps(self, nodes: Tensor, logits: Tensor) -> Steps:
        """The best steps; the first is not the end, the last is."""
        length, device = len(self._tokens), logits.device
        log_p = logits.log_softmax(dim=1)
        if length == 1:
            log_p[:, self._end] = -torch.inf
        elif length == self._longest:
            log_p = log_p[:, self._end : self._end + 1]
        gain, place = log_p.topk(min(self._width, log_p.shape[1]), dim=1)
        token = (place if log_p.shape[1] > 1 else place + self._end).flatten()
        parent = torch.arange(len(nodes), device=device).repeat_interleave(gain.shape[1])
        node = torch.arange(self._count, self._count + len(token), device=device)
        self._parents.append(nodes[parent].cpu())
        self._tokens.append(token.cpu())
        self._count += len(token)
        return Steps(parent, token, gain.flatten(), node, token == self._end)

    def spelled(self, nodes: Tensor) -> Tensor:
        """Tokens int64 [..., longest] that led to ``nodes`` [...], filled up with the end."""
        parents, tokens = torch.cat(self._parents), torch.cat(self._tokens)
        written = []
        at = nodes.cpu().clamp_min(0)
        for _ in self._tokens[1:]:
            written.append(tokens[at])
            at = parents[at]
        rows = torch.stack(written, dim=-1).flip(-1)  # what was said last is last, so ends of short ones come first
        order = (rows == self._end).long().argsort(dim=-1, stable=True)
        rows = rows.gather(-1, order)
        return torch.nn.functional.pad(rows, (0, self._longest - rows.shape[-1]), value=self._end).to(nodes.device)


def beam_search(
    decoder: Continuation, guide: Guide, width: int, *, temperature: float = 1.0, length_exponent: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Nodes [B, width] where the best sequences of each row ended, and their log-probabilities [B, width].

    Best first by ``log p * length^-length_exponent``, the length counted with the end. A finished sequence keeps its
    place among the ``width`` until enough better ones push it out. Places that no sequence reached hold -1 and -inf.
    With a ``width`` of all there are nothing is ever dropped, and the result is the exact score of every sequence.
    """
    logits = decoder.begin()
    rows, device = len(logits), logits.device
    image = torch.arange(rows, device=device)  # whose each live prefix is
    node, score = torch.zeros_like(image), torch.zeros(rows, device=device)
    ended_at = torch.full((rows, width), -1, device=device)
    final = torch.full((rows, width), -torch.inf, device=device)
    rank = final.clone()
    length = 0
    while len(node):
        length += 1
        steps = guide.steps(node, logits.float() / temperature)
        table = _by_image(image[steps.parent], rows)
        reached = _filled(score[steps.parent] + steps.gain, table, -torch.inf)
        ranks = torch.cat([rank, reached * float(length) ** -length_exponent], dim=1)
        rank, chosen = ranks.topk(width, dim=1)
        final = torch.cat([final, reached], dim=1).gather(1, chosen)
        step = torch.cat([torch.full_like(ended_at, -1), table], dim=1).gather(1, chosen)  # -1: what had ended before
        ended_at = torch.cat([ended_at, torch.full_like(table, -1)], dim=1).gather(1, chosen)
        ends = (step >= 0) & steps.ended[step]
        ended_at = torch.where(ends, steps.node[step], ended_at)
        live = (step >= 0) & ~ends
        image, going = torch.nonzero(live, as_tuple=True)[0], step[live]
        node, score = steps.node[going], final[live]
        final, rank = final.masked_fill(live, -torch.inf), rank.masked_fill(live, -torch.inf)
        if len(node):
            logits = decoder.proceed(steps.parent[going], steps.token[going])
    order = rank.argsort(dim=1, descending=True, stable=True)
    return ended_at.gather(1, order), final.gather(1, order)


def _by_image(image: Tensor, rows: int) -> Tensor:
    """Numbers [B, M] of the steps of each image, -1 where it has fewer; ``image`` [E] rises."""
    counts = torch.bincount(image, minlength=rows)
    place = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image]
    table = torch.full((rows, int(counts.max())), -1, device=image.device)
    table[image, place] = torch.arange(len(image), device=image.device)
    return table


def _filled(values: Tensor, table: Tensor, missing: float) -> Tensor:
    """``values`` [E] in the places of ``table`` [B, M]."""
    return torch.where(table >= 0, values[table], missing)
