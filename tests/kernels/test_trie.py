import random

import pytest
import torch

from curator.kernels.trie import Trie


def spelled(trie: Trie) -> dict[int, list[int]]:
    """Every sequence of the trie by its number, read by walking down."""
    found: dict[int, list[int]] = {}
    walks: list[tuple[int, list[int]]] = [(0, [])]
    while walks:
        node, tokens = walks.pop()
        children, _ = trie.children(torch.tensor([node]))
        for child in children.tolist():
            if trie.leaf[child] >= 0:
                found[int(trie.leaf[child])] = tokens
                assert trie.token[child] == 0
                assert trie.width[child] == 0
            else:
                walks.append((child, [*tokens, int(trie.token[child])]))
    return found


def test_a_trie_spells_what_it_was_built_of_shared_beginnings_once() -> None:
    sequences = [[3, 1], [3], [2, 2, 2], [3, 1, 4], [3, 2]]
    trie = Trie.build(sequences, 0)
    assert spelled(trie) == dict(enumerate(sequences))
    assert trie.leaves == 5
    assert len(trie.token) == 1 + 3 + 3 + 1 + 5  # root, nodes by depth (3 2 / 31 32 22 / ...), and an end each
    assert len(set(spelled(trie))) == 5


@pytest.mark.parametrize("seed", range(5))
def test_random_sequences_come_back(seed: int) -> None:
    rng = random.Random(seed)
    sequences = sorted({tuple(rng.randint(1, 5) for _ in range(rng.randint(1, 6))) for _ in range(200)})
    assert spelled(Trie.build(sequences, 0)) == {n: list(sequence) for n, sequence in enumerate(sequences)}


def test_children_of_many_nodes_stand_together_with_their_parents() -> None:
    trie = Trie.build([[1], [2, 1], [2, 3]], 0)
    top, _ = trie.children(torch.tensor([0]))
    two = int(top[trie.token[top] == 2])
    children, parents = trie.children(torch.tensor([two, 0, two]))
    assert trie.token[children].tolist() == [1, 3, 1, 2, 1, 3]
    assert parents.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("sequences", [[[1], [1]], [[]], [[1, 0]]])
def test_sequences_that_no_trie_can_tell_apart_are_refused(sequences: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"equal|end"):
        Trie.build(sequences, 0)
