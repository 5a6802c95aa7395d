"""Owns the exact search for the best rows of a bank, in bounded memory. Knows scores, not what they are scores of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TILE = 32  # bank rows that share one maximum
_FEWEST_ROWS, _MOST_ROWS, _PRODUCTS = 4_096, 65_536, 1 << 22  # of a block, where the caller does not say
_LOWEST_KEY = torch.iinfo(torch.int64).min
_CACHED = 1 << 18  # float32 numbers that a core keeps close
_INTEGERS = {2: torch.int16, 4: torch.int32}  # by bytes of the float
_INDEX_BITS = 32


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
    on its device. Exact: nothing is approximated, whatever ``chunk``. Memory: ``chunk`` x B products at a time, some
    millions by default.
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
    height = -(-min(chunk, count) // _TILE) * _TILE
    buffer = torch.empty(height, rows, dtype=bank.dtype, device=bank.device)
    best = torch.full((rows, k), _LOWEST_KEY, dtype=torch.int64, device=bank.device)
    total = None if scale is None else torch.full((rows,), -torch.inf, device=bank.device)
    for start in range(0, count, height):
        block = bank[start : start + height]
        tiled = -(-block.shape[0] // _TILE) * _TILE
        torch.mm(block, columns, out=buffer[: block.shape[0]])
        buffer[block.shape[0] : tiled] = -torch.inf
        if total is not None and scale is not None:
            total = torch.logaddexp(total, _log_sum_exp(buffer[: block.shape[0]], scale))
        best = _merge(best, buffer[:tiled], start)
    scores, indices = _decode(best)
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


def _merge(best: Tensor, scores: Tensor, start: int) -> Tensor:
    """``best`` keys [B, k] after a block of ``scores`` [rows, B], whose first row is number ``start`` of the bank."""
    k = best.shape[1]
    tiles = scores.view(-1, _TILE, scores.shape[1])
    maxima = _tile_maxima(tiles)
    hits = maxima > _ordered(_decode(best[:, -1])[0].to(scores.dtype).view(maxima.dtype))
    if start == 0 and maxima.shape[0] > k:
        # The k-th best maximum is itself a lower bound of the k-th best score, and it may be reached by equals.
        hits &= maxima >= maxima.topk(k, dim=0).values[-1]
    places, queries = hits.nonzero(as_tuple=True)
    if not queries.shape[0]:
        return best
    queries, order = queries.sort(stable=True)
    places = places[order]
    rows = places.unsqueeze(1) * _TILE + torch.arange(_TILE, device=scores.device) + start
    keys = _encode(tiles[places, :, queries], rows).topk(min(k, _TILE), dim=1).values  # [hits, k]
    changed, line, counts = torch.unique_consecutive(queries, return_inverse=True, return_counts=True)
    column = torch.arange(queries.shape[0], device=scores.device) - (counts.cumsum(0) - counts)[line]
    candidates = keys.new_full((changed.shape[0], int(counts.max()), keys.shape[1]), _LOWEST_KEY)
    candidates[line, column] = keys
    merged = torch.cat([best[changed], candidates.flatten(1)], dim=1).topk(k, dim=1).values
    return best.index_copy(0, changed, merged)


def _tile_maxima(tiles: Tensor) -> Tensor:
    """The largest score of each tile, as ``_ordered`` integers [tiles, B], of ``tiles`` [tiles, rows, B].

    Integers compare several times faster than half-precision floats: the bits of floats without a sign are in the
    order of the floats, and those with one below them all, in the opposite order.
    """
    bits = tiles.view(_INTEGERS[tiles.element_size()])
    largest = bits.amax(dim=1)
    if int(largest.amin()) >= 0:
        return largest
    return _ordered(torch.where(largest < 0, bits.amin(dim=1), largest))


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
