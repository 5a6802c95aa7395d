"""Owns the exact search of a large bank through a rounded copy of it. Knows vectors, not where they are kept.

A CPU that multiplies bfloat16 reads the copy as fast as memory gives it. What its scores cannot rule out, by a bound on
the error of rounding, is scored again from the vectors themselves in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curator.kernels.ranking import top_k

_TILE = 8  # bank rows that share one maximum
_WIDE = 16  # tiles that share one maximum of maxima
_PRODUCTS = 1 << 19  # of a block: they stay in a core's cache between the product and the maxima
_FEWEST_ROWS, _MOST_ROWS = 1_024, 8_192
_RESCORED_TILES = 512  # at a time: 8 MiB of float32 in 512 dimensions
_QUERIES = 256  # at a time
_PLAIN_NUMBERS = 1 << 24  # of the bank in float32 at a time


@dataclass(frozen=True, slots=True)
class _Found:
    """Exactly scored pairs of a query and a bank row, in no order."""

    queries: Tensor
    rows: Tensor
    scores: Tensor


def nearest(queries: Tensor, bank: Tensor, k: int, *, coarse: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scores float32 and indices int64, both [B, min(k, N)], of the largest inner products; equal scores by index.

    ``queries`` float32 [B, D]; ``bank`` float16 or float32 [N, D] with rows of norm at most 1.01; ``coarse`` is the
    bank in bfloat16, rounded to nearest, without which every row is scored in float32. Exact either way: scores are
    float32 products with rows of ``bank``, and none that belongs to the k best is missed. Memory: with ``coarse`` two
    bytes for each of up to 256 queries and 8 rows of the bank, without it 128 MiB.

    A rounded score is off by at most |q' - q| |x'| + |q| |x' - x| + u |s| + the sum's own rounding, where q' and x' are
    the rounded vectors, |x' - x| <= u |x|, and u is half a unit in the last place of bfloat16.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    if queries.shape[1] != bank.shape[1]:
        raise ValueError(f"queries of {queries.shape[1]} dimensions for a bank of {bank.shape[1]}")
    if coarse is not None and (coarse.shape != bank.shape or coarse.dtype != torch.bfloat16):
        raise ValueError(f"coarse is {coarse.dtype} {tuple(coarse.shape)} for a bank {tuple(bank.shape)}")
    scores, indices = [], []
    for start in range(0, max(1, len(queries)), _QUERIES):
        some = queries[start : start + _QUERIES].float()
        found = None if coarse is None else _sifted(some, bank, coarse, k)
        best = found or _plain(some, bank, k)
        scores.append(best[0])
        indices.append(best[1])
    return torch.cat(scores), torch.cat(indices)


def _plain(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same from float32 products with every row."""
    height = max(_FEWEST_ROWS, _PLAIN_NUMBERS // bank.shape[1])
    scores = queries.new_empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, bank.shape[0], height):
        more, places = top_k(queries, bank[start : start + height].float(), k)
        # Rows of earlier blocks stand first, so that a stable sort leaves equal scores in order of index.
        scores, order = torch.cat([scores, more], dim=1).sort(dim=1, descending=True, stable=True)
        indices = torch.cat([indices, places + start], dim=1).gather(1, order)[:, :k]
        scores = scores[:, :k]
    return scores, indices


def _sifted(queries: Tensor, bank: Tensor, coarse: Tensor, k: int) -> tuple[Tensor, Tensor] | None:
    """The k best by way of ``coarse``; None where too few scores are positive, since others are not told apart."""
    rounded = queries.to(torch.bfloat16)
    maxima = _tile_maxima(rounded, coarse)
    wide = maxima.view(-1, _WIDE, maxima.shape[1]).amax(dim=1)
    if wide.shape[0] < k:
        return None
    # The k-th largest maximum is reached by k rows: tiles from there on hold k good rows, if not yet the k best.
    first = wide.topk(k, dim=0).values[-1]
    if int(first.min()) <= 0:
        return None
    found = _rescore(queries, bank, *_tiles(maxima, wide, first, None))
    kth = _best([found], k, len(queries))[0][:, -1]
    needed = _bits_below(kth - _error_bound(queries, rounded, kth))
    if int(needed.min()) <= 0:
        return None
    more = _rescore(queries, bank, *_tiles(maxima, wide, needed, first))
    return _best([found, more], k, len(queries))


def _tile_maxima(queries: Tensor, coarse: Tensor) -> Tensor:
    """The bits of the largest score of each tile, int16 [tiles, B], and 0 where it is negative.

    The bits of floats that are not negative are in the order of the floats, and integers compare several times faster.
    """
    count, batch = coarse.shape[0], queries.shape[0]
    span = _TILE * _WIDE
    height = max(_FEWEST_ROWS, min(_MOST_ROWS, _PRODUCTS // max(1, batch))) // span * span
    tiles = -(-count // span) * _WIDE
    maxima = torch.empty(tiles, batch, dtype=torch.int16, device=coarse.device)
    columns = queries.T.contiguous()
    buffer = torch.empty(height, batch, dtype=coarse.dtype, device=coarse.device)
    for start in range(0, count, height):
        block = coarse[start : start + height]
        rows = block.shape[0]
        torch.mm(block, columns, out=buffer[:rows])
        padded = -(-rows // span) * span
        buffer[rows:padded] = 0
        scores = buffer[:padded].view(torch.int16).view(-1, _TILE, batch)
        torch.amax(scores, dim=1, out=maxima[start // _TILE : (start + padded) // _TILE])
    return maxima.clamp_(min=0)


def _tiles(maxima: Tensor, wide: Tensor, least: Tensor, below: Tensor | None) -> tuple[Tensor, Tensor]:
    """(queries, tiles) whose maximum is at least ``least`` [B] and, where it is given, less than ``below`` [B]."""
    groups, queries = (wide >= least).nonzero(as_tuple=True)
    inside = maxima.view(-1, _WIDE, maxima.shape[1])[groups, :, queries]
    wanted = inside >= least[queries].unsqueeze(1)
    if below is not None:
        wanted &= inside < below[queries].unsqueeze(1)
    hits, places = wanted.nonzero(as_tuple=True)
    return queries[hits], groups[hits] * _WIDE + places


def _rescore(queries: Tensor, bank: Tensor, owners: Tensor, tiles: Tensor) -> _Found:
    """The float32 scores of every row of ``tiles`` with its query."""
    count = bank.shape[0]
    rows = tiles.unsqueeze(1) * _TILE + torch.arange(_TILE, device=tiles.device)
    scores = torch.empty(rows.shape, device=tiles.device)
    for start in range(0, len(tiles), _RESCORED_TILES):
        part = slice(start, start + _RESCORED_TILES)
        vectors = bank[rows[part].clamp(max=count - 1)].float()
        scores[part] = vectors.mul_(queries[owners[part]].unsqueeze(1)).sum(dim=2)
    real = rows < count
    return _Found(owners.unsqueeze(1).expand_as(rows)[real], rows[real], scores[real])


def _error_bound(queries: Tensor, rounded: Tensor, scores: Tensor) -> Tensor:
    """How much smaller than the exact score a rounded one may be, float32 [B], for scores from ``scores`` [B] on."""
    unit = torch.finfo(rounded.dtype).eps / 2
    norms = torch.linalg.vector_norm(queries, dim=1)
    moved = torch.linalg.vector_norm(rounded.float() - queries, dim=1)
    longest = 1.01 * (1 + unit)
    sums = queries.shape[1] * torch.finfo(torch.float32).eps * (norms + moved) * longest
    products = moved * longest + norms * 1.01 * unit + sums
    bound: Tensor = products + unit * (scores.abs() + products)
    return bound


def _bits_below(scores: Tensor) -> Tensor:
    """Bits of a bfloat16 that is not above ``scores``, int16 [B]; 0 or less for scores that are not positive."""
    return scores.to(torch.bfloat16).view(torch.int16) - 1


def _best(found: list[_Found], k: int, batch: int) -> tuple[Tensor, Tensor]:
    """The k best of each query: scores and rows [B, k]. Every query has at least k."""
    queries, rows, scores = (
        torch.cat([getattr(each, name) for each in found]).cpu().numpy() for name in ("queries", "rows", "scores")
    )
    order = np.lexsort((rows, -scores, queries))
    starts = np.searchsorted(queries[order], np.arange(batch))
    chosen = order[starts[:, None] + np.arange(k)]
    device = found[0].scores.device
    return torch.from_numpy(scores[chosen]).to(device), torch.from_numpy(rows[chosen]).to(device)
