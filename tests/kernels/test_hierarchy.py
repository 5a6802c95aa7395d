"""Trees of labels: the published CHiLS values, and every kernel against loops over paths."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curator.kernels.hierarchy import (
    ancestor_sums,
    chils,
    class_maxima,
    expected_euclidean,
    expected_squared_distance,
    smooth,
    tree_distances,
)
from curator.kernels.vectors import class_means, l2_normalize
from tests.kernels.golden import VALUES, inputs


def ups(parents: list[int]) -> list[list[int]]:
    found = []
    for node in range(len(parents)):
        path = [node]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        found.append(path)
    return found


def padded(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [-1] * (longest - len(row)) for row in rows])


@st.composite
def forests(draw: st.DrawFn) -> list[int]:
    """Parents by node, -1 at roots; a parent comes before its children."""
    count = draw(st.integers(1, 9))
    return [draw(st.integers(-1, node - 1)) for node in range(count)]


def test_chils_has_the_published_values() -> None:
    given = inputs()
    owners = torch.arange(5).repeat_interleave(4)
    classes = class_means(given.prompts.flatten(0, 1), owners, 5)
    raw, sup = 10 * given.images @ given.children.T, 10 * given.images @ classes.T
    scores = chils(raw, sup, given.parents)
    assert scores[0].tolist() == pytest.approx(VALUES["chils_0"], rel=1e-4)
    assert given.parents[scores.argmax(1)].tolist() == VALUES["chils_pred"]
    assert class_maxima(scores, given.parents, 5).argmax(1).tolist() == VALUES["chils_pred"]


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_variants_of_chils_equal_loops(seed: int, images: int, count: int, more: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parents = torch.cat([torch.arange(count), torch.randint(count, (more,), generator=generator)])
    raw, sup = torch.randn(images, len(parents), generator=generator), torch.randn(images, count, generator=generator)
    r, q = torch.softmax(raw, 1), torch.softmax(sup, 1)
    for row in range(images):
        sums = [sum(float(r[row, s]) for s in range(len(parents)) if parents[s] == c) for c in range(count)]
        for s, parent in enumerate(parents.tolist()):
            own = float(r[row, s])
            assert float(chils(raw, sup, parents, "plain")[row, s]) == pytest.approx(own, abs=1e-6)
            assert float(chils(raw, sup, parents)[row, s]) == pytest.approx(own * float(q[row, parent]), abs=1e-6)
            assert float(chils(raw, sup, parents, "hat")[row, s]) == pytest.approx(own * sums[parent], abs=1e-6)
        for c in range(count):
            assert float(chils(raw, sup, parents, "supagg")[row, c]) == pytest.approx(
                float(q[row, c]) * sums[c], abs=1e-6
            )
    assert torch.allclose(chils(raw.half(), sup.half(), parents), chils(raw, sup, parents), atol=1e-2)


@given(forests(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_sums_and_distances_equal_walks_through_the_tree(parents: list[int], seed: int) -> None:
    count, paths = len(parents), ups(parents)
    p = torch.softmax(torch.randn(2, count, generator=torch.Generator().manual_seed(seed)), 1)
    sums = ancestor_sums(p, padded(paths), count)
    for node in range(count):
        under = [other for other in range(count) if node in paths[other]]
        assert sums[:, node].tolist() == pytest.approx([float(p[row, under].sum()) for row in range(2)], abs=1e-6)
    distances = tree_distances(padded([path[::-1] for path in paths]))
    for a in range(count):
        for b in range(count):
            shared = set(paths[a]) & set(paths[b])
            assert float(distances[a, b]) == len(paths[a]) + len(paths[b]) - 2 * len(shared)


@given(forests(), st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_smoothing_equals_the_loop(parents: list[int], seed: int, decay: float) -> None:
    count, paths = len(parents), ups(parents)
    vectors = l2_normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)))
    pairs, expected = [], vectors.clone()
    for k in (1, 2):
        up = [(node, path[k]) for node, path in enumerate(paths) if len(path) > k]
        for direction in (up, [(by, of) for of, by in up]):
            pairs.append(tuple(torch.tensor(direction, dtype=torch.long).view(-1, 2).T))
            for node in range(count):
                own = [vectors[by] for of, by in direction if of == node]
                if own:
                    expected[node] += decay**k * torch.stack(own).mean(0)
    assert torch.allclose(smooth(vectors, [(of, by) for of, by in pairs], decay), l2_normalize(expected), atol=1e-5)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_expected_distances_equal_loops(seed: int, images: int, labels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = l2_normalize(torch.randn(labels, 5, generator=generator))
    scored = sorted(random.Random(seed).sample(range(labels), random.Random(seed).randint(1, labels)))
    p = torch.softmax(torch.randn(images, len(scored), generator=generator), 1)
    squared = torch.tensor([[float((vectors[j] - vectors[y]).square().sum()) for y in range(labels)] for j in scored])
    expected = torch.tensor(
        [
            [sum(float(p[row, j] * squared[j, y]) for j in range(len(scored))) for y in range(labels)]
            for row in range(images)
        ]
    )
    assert torch.allclose(expected_squared_distance(p, squared), expected, atol=1e-5)
    assert torch.allclose(expected_euclidean(p, vectors[scored], vectors), expected, atol=1e-5)


def test_an_even_doubt_is_answered_by_the_centre() -> None:
    # Two leaves under one parent: the parent is one edge from each, each leaf two from the other.
    distances = tree_distances(torch.tensor([[0, -1], [0, 1], [0, 2]]))
    assert distances.tolist() == [[0, 1, 1], [1, 0, 2], [1, 2, 0]]
    doubt = torch.tensor([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0]])
    assert expected_squared_distance(doubt, distances.square()).argmin(1).tolist() == [0, 1]
