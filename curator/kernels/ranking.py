"""Owns the exact search for the best rows of a bank, in bounded memory. Knows scores, not what they are scores of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TILE = 16  # bank rows that share one maximum
_WIDE = 16  # tiles that share one maximum of maxima
_FEWEST_ROWS, _MOST_ROWS, _PRODUCTS = 4_096, 131_072, 1 << 24  # of a block, where the caller does not say
_LOWEST_KEY = torch.iinfo(torch.int64).min
_CACHED = 1 << 18  # float32 numbers that a core keeps close
_INTEGERS = {2: torch.int16, 4: torch.int32}  # by bytes of the float
_INDEX_BITS = 32
_NO_SCORE = -1  # the bits of a NaN that comes last in the order of bits, after minus infinity


@dataclass(frozen=True, slots=True)
class Ranking:
    """The k best bank rows of each of B queries: ``scores`` float32 and ``indices`` int64, both [B, k], best first.

    ``log_sum_exp`` float32 [B] runs over ``scale`` times the scores of the whole bank; None where it was not asked for.
    """

    scores: Tensor
    indices: Tensor
    log_sum_exp: Tensor | None


def top_k(queries: Tensor, bank: Tensor, k: int, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Scores float32 and indices int64, both [B, min(k, C)], of the largest inner products; equal scores by index.

    ``queries`` [B, D] and ``bank`` [C, D] are finite; the products are taken in the bank's dtype (float64: float32)
    on its device. Exact: nothing is approximated, whatever ``chunk``. Memory: ``chunk`` x B products at a time, 16
    million (32 MiB in half precision) by default.
    """
    ranking = rank(queries, bank, k, chunk=chunk)
    return ranking.scores, ranking.indices


def rank(queries: Tensor, bank: Tensor, k: int, *, scale: float | None = None, chunk: int | None = None) -> Ranking:
    """``top_k`` that in the same pass sums exp(scale * score) over the bank, as a softmax over it needs.

    A block of scores is read once more after the product: the maximum of each tile of rows. A tile whose maximum does
    not beat the k-th best score so far cannot hold one of the k best, and its rows come later, so it loses ties, too.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    if queries.shape[1] != bank.shape[1]:
        raise ValueError(f"queries of {queries.shape[1]} dimensions for a bank of {bank.shape[1]}")
    if bank.dtype == torch.float64:
        bank = bank.float()
    count, rows = bank.shape[0], queries.shape[0]
    k = min(k, count)
    if not rows or not k:
        empty = torch.empty(rows, k, device=bank.device)
        return Ranking(empty, empty.long(), None if scale is None else empty.new_full((rows,), -torch.inf))
    columns = queries.to(device=bank.device, dtype=bank.dtype).T.contiguous()
    chunk = chunk or min(_MOST_ROWS, max(_FEWEST_ROWS, _PRODUCTS // rows))
    height = -(-min(chunk, count) // (_TILE * _WIDE)) * _TILE * _WIDE
    buffer = torch.empty(height, rows, dtype=bank.dtype, device=bank.device)
    best = _Best(k, buffer)
    total = None if scale is None else torch.full((rows,), -torch.inf, device=bank.device)
    for start in range(0, count, height):
        block = bank[start : start + height]
        torch.mm(block, columns, out=buffer[: block.shape[0]])
        if block.shape[0] < height:
            buffer[block.shape[0] :].view(_INTEGERS[buffer.element_size()]).fill_(_NO_SCORE)
        if total is not None and scale is not None:
            total = torch.logaddexp(total, _log_sum_exp(buffer[: block.shape[0]], scale))
        best.take(start)
    scores, indices = best.ranked()
    return Ranking(scores, indices, total)


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores float32 and indices int64, both [B, min(k, C)], of the best of ``scores`` [B, C]; equal ones by index."""
    k = min(k, scores.shape[1])
    keys = _encode(scores, torch.arange(scores.shape[1], device=scores.device)).topk(k, dim=1).values
    return _decode(keys)


def _log_sum_exp(scores: Tensor, scale: float) -> Tensor:
    """log(sum(exp(scale * score))), float32 [B], over the rows of ``scores`` [rows, B], in pieces that fit a cache."""
    largest = (scores.amax(dim=0) if scale > 0 else scores.amin(dim=0)).float()
    total = torch.zeros_like(largest)
    height = max(_TILE, _CACHED // scores.shape[1])
    for start in range(0, scores.shape[0], height):
        total += (scores[start : start + height] - largest).mul_(scale).exp_().sum(dim=0)
    return total.log_().add_(largest, alpha=scale)


class _Best:
    """The k best (score, row) pairs of each query so far, taken in block by block.

    ``_least`` [B] is the k-th best score, as ``_ordered`` bits, when last looked at: it may be out of date, which lets
    more scores through and loses none. Those are collected, and merged whenever twice as many rows have been seen.
    """

    def __init__(self, k: int, scores: Tensor) -> None:
        """``scores`` [rows, B] is where each block will stand."""
        bits, rows, device = _INTEGERS[scores.element_size()], scores.shape[1], scores.device
        self._dtype = scores.dtype
        self._tiles = scores.view(bits).view(_TILE, -1, rows)  # tile t holds the rows t, t + tiles, t + 2 tiles ...
        # Memory that is new in every block would cost more than what is done with it.
        self._maxima = torch.empty_like(self._tiles[0])
        self._groups = self._maxima.view(_WIDE, -1, rows)  # of tiles, laid out like the tiles
        self._widest = torch.empty_like(self._groups[0])
        self._keys = torch.full((rows, k), _LOWEST_KEY, dtype=torch.int64, device=device)
        self._least = torch.full((rows,), torch.iinfo(bits).min, dtype=bits, device=device)
        self._all_positive = False  # whether no negative score can be among the k best
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._merge_at = 0

    def take(self, start: int) -> None:
        """The block of scores that stands there now; its first row is number ``start`` of the bank."""
        self._find_maxima()
        places, queries = self._find_hits()
        if not places.shape[0]:
            return
        bits = _ordered(self._tiles[:, places, queries])  # [tile, hits]
        steps, columns = (bits > self._least[queries]).nonzero(as_tuple=True)
        places, queries = places[columns], queries[columns]
        rows = steps * self._tiles.shape[1] + places + start
        scores = _ordered(bits[steps, columns]).view(self._dtype)
        self._waiting.append((queries, _encode(scores, rows)))
        if start >= self._merge_at or sum(keys.shape[0] for _, keys in self._waiting) > 4 * self._keys.numel():
            self._merge()
            self._merge_at = 2 * start + 1

    def _find_maxima(self) -> None:
        """The largest score of each tile, as ``_ordered`` integers [tiles, B].

        Integers compare several times faster than half-precision floats: the bits of floats without a sign are in the
        order of the floats, and those with one below them all, in the opposite order, which is looked at only where
        negative scores count.
        """
        maxima = self._maxima
        torch.amax(self._tiles.flatten(1), dim=0, out=maxima.view(-1))
        if not self._all_positive and int(maxima.amin()) < 0:
            maxima.copy_(_ordered(torch.where(maxima < 0, self._tiles.amin(dim=0), maxima)))

    def _find_hits(self) -> tuple[Tensor, Tensor]:
        """(tiles, queries) of the maxima that beat the k-th best score, in no order."""
        if not self._merge_at:  # the first block, of which every tile beats nothing
            self._lift_least()
        torch.amax(self._groups.flatten(1), dim=0, out=self._widest.view(-1))
        groups, queries = (self._widest > self._least).nonzero(as_tuple=True)
        if self._merge_at and groups.shape[0] > 2 * self._keys.numel():
            self._lift_least()
            groups, queries = (self._widest > self._least).nonzero(as_tuple=True)
        inside = self._groups[:, groups, queries] > self._least[queries]
        steps, columns = inside.nonzero(as_tuple=True)
        return steps * self._groups.shape[1] + groups[columns], queries[columns]

    def _lift_least(self) -> None:
        """The k-th best maximum is itself a lower bound of the k-th best score, and it may be reached by equals."""
        k = self._keys.shape[1]
        if self._maxima.shape[0] > k:
            bound = self._maxima.topk(k, dim=0).values[-1]
            self._least = torch.where(bound > self._least, bound - 1, self._least)

    def _merge(self) -> None:
        queries = torch.cat([queries for queries, _ in self._waiting])
        keys = torch.cat([keys for _, keys in self._waiting])
        self._waiting.clear()
        rows, k = self._keys.shape
        keys, order = keys.sort(descending=True)
        queries, places = queries[order].sort(stable=True)
        counts = torch.bincount(queries, minlength=rows)
        column = torch.arange(len(queries), device=queries.device) - (counts.cumsum(0) - counts)[queries]
        kept = column < k
        new = torch.full_like(self._keys, _LOWEST_KEY)
        new[queries[kept], column[kept]] = keys[places[kept]]
        self._keys = torch.cat([self._keys, new], dim=1).topk(k, dim=1).values
        last = self._keys[:, -1]
        least = _ordered(_decode(last)[0].to(self._dtype).view(self._least.dtype))
        self._least = torch.where(last == _LOWEST_KEY, self._least, torch.maximum(self._least, least))
        self._all_positive = int(self._least.amin()) >= 0

    def ranked(self) -> tuple[Tensor, Tensor]:
        """Scores and indices, both [B, k], best first."""
        if self._waiting:
            self._merge()
        return _decode(self._keys)


def _ordered(bits: Tensor) -> Tensor:
    """Integers in the order of the floats that ``bits`` are; both zeros give 0. Applied twice, it gives ``bits``."""
    limits = torch.iinfo(bits.dtype)
    ordered = bits ^ ((bits >> (limits.bits - 1)) & limits.max)
    return ordered.masked_fill_(ordered == -1, 0)


def _encode(scores: Tensor, indices: Tensor) -> Tensor:
    """One int64 per (score, index) whose order is: larger score first, then lower index."""
    ordered = _ordered(scores.float().contiguous().view(torch.int32))
    return (ordered.long() << _INDEX_BITS) + ((1 << _INDEX_BITS) - 1 - indices)


def _decode(keys: Tensor) -> tuple[Tensor, Tensor]:
    scores = _ordered((keys >> _INDEX_BITS).int()).view(torch.float32)
    # The lowest key stands for "nothing yet"; its bits would read as NaN.
    scores = torch.where(keys == _LOWEST_KEY, scores.new_full((), -torch.inf), scores)
    return scores, (1 << _INDEX_BITS) - 1 - (keys & ((1 << _INDEX_BITS) - 1))
