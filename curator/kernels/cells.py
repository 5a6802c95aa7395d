"""Owns the cutting of a grid of patches into cells, and what stands for a cell. Knows no encoder and no word."""

from __future__ import annotations

import torch
from torch import Tensor


def cells_of(rows: int, columns: int, cells: int) -> Tensor:
    """The number of each patch's cell, int64 [rows * columns], where a grid is cut into ``cells`` x ``cells``.

    Cells are as equal as the grid allows. Where it has fewer rows or columns than that, each of these is a cell of its
    own, and numbers are those of cells that have a patch.
    """
    down, across = min(cells, rows), min(cells, columns)
    row = torch.arange(rows) * down // rows
    column = torch.arange(columns) * across // columns
    return (row[:, None] * across + column).flatten()


def cell_means(patches: Tensor, cells: Tensor) -> Tensor:
    """The normalised means [B, C, D] of the unit vectors ``patches`` [B, rows, columns, D] of each cell.

    ``cells`` [rows * columns] are the numbers of the patches' cells, from 0 to C - 1.
    """
    flat = patches.flatten(1, 2)
    sums = flat.new_zeros(flat.shape[0], int(cells.max()) + 1, flat.shape[2]).index_add_(1, cells, flat)
    return torch.nn.functional.normalize(sums, dim=2)
