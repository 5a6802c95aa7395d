"""Owns the tree over a vocabulary: from its parents or from a table of child to parent. Knows no score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from curator.errors import ConfigError
from curator.labels.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tree:
    """Nodes by position: first the labels of the vocabulary, in its order, then what only the tree knows.

    ``parents`` holds the position of each node's parent, -1 at a root.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    parents: tuple[int, ...]
    labels: int

    @cached_property
    def ups(self) -> tuple[tuple[int, ...], ...]:
        """For every label, itself and its ancestors, nearest first."""
        return tuple(self._up(label) for label in range(self.labels))

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The labels under which no other label stands."""
        above = {node for up in self.ups for node in up[1:]}
        return tuple(label for label in range(self.labels) if label not in above)

    def children(self, node: int) -> list[int]:
        return [label for label in range(self.labels) if self.parents[label] == node]

    def padded(self, *, from_root: bool = False) -> Tensor:
        """``ups`` int64 [labels, L], padded with -1; ``from_root`` turns every row around."""
        import torch

        rows = [list(reversed(up)) if from_root else list(up) for up in self.ups]
        longest = max(map(len, rows))
        return torch.tensor([row + [-1] * (longest - len(row)) for row in rows], dtype=torch.long)

    def relatives(self, distance: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Pairs of labels (of, by): ``by`` is the ancestor at that distance; and the same pairs turned around."""
        pairs = [
            (label, up[distance])
            for label, up in enumerate(self.ups)
            if len(up) > distance and up[distance] < self.labels
        ]
        return pairs, [(by, of) for of, by in pairs]

    def _up(self, node: int) -> tuple[int, ...]:
        path = [node]
        while self.parents[path[-1]] >= 0:
            path.append(self.parents[path[-1]])
        return tuple(path)


def tree_of(vocabulary: Vocabulary, table: Mapping[str, str] | None = None) -> Tree:
    """The tree of the labels' parents, or of ``table`` {child: parent} by label id, label name or any other name.

    Raises ConfigError where a node is its own ancestor, and where nothing has a parent.
    """
    names, ids = list(vocabulary.names), list(vocabulary.ids)
    position = {name: row for row, name in reversed(list(enumerate(names)))} | {id_: row for row, id_ in enumerate(ids)}
    links = {label.id: label.parent for label in vocabulary.labels if label.parent} if table is None else dict(table)
    if not links:
        raise ConfigError("the labels have no parents; give them some, or a tree {child: parent} in the options")
    parents = [-1] * len(names)
    for child, parent in links.items():
        for node in (child, parent):
            if not isinstance(node, str) or not node:
                raise ConfigError(f"the tree has the node {node!r}; write it as {{'child': 'parent', ...}}")
            if node not in position:
                position[node] = len(names)
                names.append(node)
                ids.append(node)
                parents.append(-1)
        parents[position[child]] = position[parent]
    _check(parents, names)
    return Tree(tuple(names), tuple(ids), tuple(parents), len(vocabulary))


def _check(parents: list[int], names: list[str]) -> None:
    rooted: set[int] = set()
    for start in range(len(parents)):
        path: dict[int, None] = {}
        node = start
        while node >= 0 and node not in rooted:
            if node in path:
                raise ConfigError(f"the tree goes in a circle: {' -> '.join(names[each] for each in path)}")
            path[node] = None
            node = parents[node]
        rooted.update(path)
