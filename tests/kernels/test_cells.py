"""Grids cut into cells: every patch in one, cells as equal as can be, means by hand."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.cells import cell_means, cells_of


def test_cells_by_hand() -> None:
    assert cells_of(2, 4, 2).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert cells_of(3, 3, 2).tolist() == [0, 0, 1, 0, 0, 1, 2, 2, 3]
    assert cells_of(2, 3, 1).tolist() == [0] * 6
    assert cells_of(2, 3, 9).tolist() == [0, 1, 2, 3, 4, 5], "a row is the least that there is"


@given(rows=st.integers(1, 20), columns=st.integers(1, 20), cells=st.integers(1, 25))
def test_cells_are_numbered_without_gaps_and_nearly_equal(rows: int, columns: int, cells: int) -> None:
    found = cells_of(rows, columns, cells).view(rows, columns)
    assert sorted(set(found.flatten().tolist())) == list(range(min(cells, rows) * min(cells, columns)))
    for line in (found[0], found[:, 0]):
        sizes = torch.bincount(line)[torch.bincount(line) > 0]
        assert int(sizes.max()) - int(sizes.min()) <= 1


def test_means_are_of_unit_norm() -> None:
    patches = torch.nn.functional.normalize(torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(0)), dim=3)
    found = cell_means(patches, cells_of(2, 4, 2))
    assert found.shape == (2, 4, 8)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(2, 4))
    wanted = torch.nn.functional.normalize(patches[:, 1, 2:].mean(dim=1), dim=1)
    torch.testing.assert_close(found[:, 3], wanted)
