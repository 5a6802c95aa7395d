"""Owns beam search through a trie, for many rows at once. Knows no network: what comes next is asked of a function.

Guidance is that of NOVIC's "plain": the trie decides what may come next, the probabilities stay those over all tokens.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from curator.kernels.trie import Trie


class Continuation(Protocol):
    """What a search needs of a decoder that holds the state of the prefixes last asked about."""

    def begin(self) -> Tensor:
        """Logits [B, V] of the first token of each of B rows."""

    def proceed(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """Logits [S, V] after ``tokens`` [S], each following the prefix ``parents`` [S] of those last given."""


def beam_search(
    decoder: Continuation, trie: Trie, width: int, *, temperature: float = 1.0, length_exponent: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The best ``min(width, leaves)`` sequences of ``trie`` for each row: numbers [B, W] and log-probabilities [B, W].

    Best first by ``log p * length^-length_exponent``, the length counted with the end. A finished sequence keeps its
    place among the ``width`` until enough better ones push it out. Places that no sequence reached hold -1 and -inf.
    With ``width`` >= leaves nothing is ever dropped, and the result is the exact score of every sequence.
    """
    logits = decoder.begin()
    rows, device = len(logits), logits.device
    width = min(width, trie.leaves)
    image = torch.arange(rows, device=device)  # of each live prefix
    node = torch.zeros(rows, dtype=torch.long, device=device)
    score = torch.zeros(rows, device=device)
    leaf = torch.full((rows, width), -1, device=device)
    final = torch.full((rows, width), -torch.inf, device=device)
    length = 0
    rank = torch.full((rows, width), -torch.inf, device=device)
    while len(node):
        length += 1
        child, parent = trie.children(node)
        log_p = _log_probabilities(logits, parent, trie.token[child], temperature)
        reached = score[parent] + log_p
        place, columns = _places(image[parent], rows)
        table = torch.full((rows, columns), -torch.inf, device=device)
        table[image[parent], place] = reached
        which = torch.full((rows, columns), -1, device=device)
        which[image[parent], place] = torch.arange(len(child), device=device)
        ranks = torch.cat([rank, table * float(length) ** -length_exponent], dim=1)
        best, chosen = ranks.topk(width, dim=1)
        scores = torch.cat([final, table], dim=1).gather(1, chosen)
        kept = chosen < width
        edge = torch.where(kept, -1, which.gather(1, (chosen - width).clamp_min(0)))
        ended = (edge >= 0) & (trie.leaf[child[edge.clamp_min(0)]] >= 0)
        leaf = torch.where(kept, leaf.gather(1, chosen.clamp_max(width - 1)), -1)
        leaf = torch.where(ended, trie.leaf[child[edge.clamp_min(0)]], leaf)
        done = kept | ended
        final = torch.where(done, scores, -torch.inf)
        rank = torch.where(done, best, -torch.inf)
        image, slot = torch.nonzero((edge >= 0) & ~ended, as_tuple=True)
        edges = edge[image, slot]
        node, score = child[edges], scores[image, slot]
        if len(node):
            logits = decoder.proceed(parent[edges], trie.token[node])
    order = rank.argsort(dim=1, descending=True, stable=True)
    return leaf.gather(1, order), final.gather(1, order)


def free_search(
    decoder: Continuation,
    width: int,
    longest: int,
    end: int,
    *,
    temperature: float = 1.0,
    length_exponent: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The ``width`` best sequences of any tokens for each row: int64 [B, width, longest] and log-probabilities.

    Ranked as in ``beam_search``; the first token is not the ``end``, which fills up what follows it, and a sequence of
    ``longest`` - 1 tokens can only end.
    """
    logits = decoder.begin()
    rows, device = len(logits), logits.device
    image = torch.arange(rows, device=device)
    written = torch.full((rows, 1, longest), end, device=device)
    score = torch.zeros(rows, 1, device=device)
    rank = torch.full((rows, 1), -torch.inf, device=device)
    live = torch.ones(rows, 1, dtype=torch.bool, device=device)
    for length in range(1, longest + 1):
        log_p = (logits.float() / temperature).log_softmax(dim=1)
        barred = torch.zeros(log_p.shape[1], dtype=torch.bool, device=device)
        barred[end] = length == 1
        if length == longest:
            barred = torch.arange(log_p.shape[1], device=device) != end
        gain, token = log_p.masked_fill(barred, -torch.inf).topk(min(width, log_p.shape[1]), dim=1)
        slots, choices = live.shape[1], gain.shape[1]
        reached = torch.full((rows, slots, choices), -torch.inf, device=device)
        reached[live] = score[live][:, None] + gain
        tokens = torch.full((rows, slots, choices), end, device=device)
        tokens[live] = token
        number = torch.full((rows, slots), -1, device=device)
        number[live] = torch.arange(len(image), device=device)
        ranks = torch.cat([rank, (reached * float(length) ** -length_exponent).flatten(1)], dim=1)
        rank, chosen = ranks.topk(min(width, ranks.shape[1]), dim=1)
        score = torch.cat([score, reached.flatten(1)], dim=1).gather(1, chosen)
        kept = chosen < slots
        origin = torch.where(kept, chosen, (chosen - slots).clamp_min(0) // choices)
        written = written.gather(1, origin[:, :, None].expand(-1, -1, longest))
        added = tokens.flatten(1).gather(1, (chosen - slots).clamp_min(0))
        written[:, :, length - 1] = torch.where(kept, written[:, :, length - 1], added)
        live = ~kept & (added != end) & rank.isfinite()
        parents = number.gather(1, origin)[live]
        rank = torch.where(live, -torch.inf, rank)
        if not len(parents):
            break
        image = torch.nonzero(live, as_tuple=True)[0]
        logits = decoder.proceed(parents, added[live])
    order = rank.argsort(dim=1, descending=True, stable=True)
    score = torch.where(rank.isfinite(), score, -torch.inf).gather(1, order)
    return written.gather(1, order[:, :, None].expand(-1, -1, longest)), score


def _log_probabilities(logits: Tensor, row: Tensor, token: Tensor, temperature: float) -> Tensor:
    """log p [E] of ``token`` [E] in ``row`` [E] of ``logits`` [R, V], over all V tokens."""
    scaled = logits.float() / temperature if temperature != 1.0 else logits.float()
    return scaled[row, token] - scaled.logsumexp(dim=1)[row]


def _places(image: Tensor, rows: int) -> tuple[Tensor, int]:
    """The place of each candidate among those of its image, which stand together in order, and the most there are."""
    counts = torch.bincount(image, minlength=rows)
    before = counts.cumsum(0) - counts
    return torch.arange(len(image), device=image.device) - before[image], int(counts.max()) if len(image) else 0
