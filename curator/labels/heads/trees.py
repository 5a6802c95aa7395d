"""Owns the heads that use a tree of labels: sums at ancestors, smoothed embeddings, relatives as prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, Labels, TextBank
from curator.errors import ConfigError
from curator.labels.banks import build_bank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import with_contents
from curator.labels.heads.dense import DenseHead, Scored, strings_column
from curator.labels.heads.texts import Ragged, ragged
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.labels.templates import fill
from curator.labels.tree import Tree, tree_of
from curator.options import fault, flag, number, table, whole
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor


def with_tree(spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
    """The label set with the tree's file read, where it names one. ConfigError where there is no sound tree."""
    spec = with_contents(spec, storage, "tree", required=False)
    tree_for(spec)
    return spec


def tree_for(spec: LabelSetSpec) -> Tree:
    """The tree of the option ``tree``, or of the vocabulary's parents. ConfigError names the label set."""
    try:
        return tree_of(spec.vocabulary, None if spec.options.get("tree") is None else table(spec, "tree"))
    except ConfigError as error:
        raise fault(spec, str(error)) from error


class TreeHead(DenseHead):
    """Zero-shot over a tree's leaves, rolled up: ``NAME_path`` has the best label's ancestors from the root.

    Options: ``tree`` {"child": "parent", …} (default: the vocabulary's parents); ``sums`` (false): ``NAME_ancestors``
    has those ancestors nearest first, each with the summed probability of all leaves under it; ``inner`` (false):
    labels with labels under them are scored, too; others as ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"tree", "sums", "inner"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        return with_tree(spec, storage)

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        columns = (*super().columns_of(spec), strings_column(spec, "path", "The best label's ancestors, from the root"))
        if flag(spec, "sums", default=False):
            columns += (ColumnSpec(f"{spec.name}_ancestors", "labels", "They, nearest first, by summed probability"),)
        return columns

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        import torch

        super().__init__(spec, banks, scale=scale, bias=bias)
        self._tree = tree_for(spec)
        scored = range(len(self._bank.names)) if flag(spec, "inner", default=False) else self._tree.leaves
        self._scored = torch.tensor(list(scored), dtype=torch.long)
        self._above = self._tree.padded()[self._scored]
        self._sums = flag(spec, "sums", default=False)
        self._vectors = self._vectors[self._scored]

    @property
    def width(self) -> int:
        return max(len(self._tree.names), len(self._bank.names))

    def score(self, vectors: Tensor) -> Scored:
        from curator.kernels.hierarchy import ancestor_sums
        from curator.kernels.ranking import largest

        if self._vectors.device != vectors.device:
            self._vectors, self._scored = self._vectors.to(vectors.device), self._scored.to(vectors.device)
            self._above = self._above.to(vectors.device)
        among = self.probabilities((vectors.to(self._vectors.dtype) @ self._vectors.T).float())
        every = among.new_full((len(among), len(self._bank.names)), 0.0)
        every[:, self._scored] = among
        best = [self._tree.ups[label][1:] for label in largest(every, 1)[1].squeeze(1).tolist()]
        names = self._tree.names
        extra: dict[str, Labels | list[list[str]]] = {
            f"{self.name}_path": [[names[node] for node in reversed(up)] for up in best]
        }
        if self._sums:
            sums = ancestor_sums(among, self._above, len(names)).clamp(max=1.0).cpu().numpy()
            extra[f"{self.name}_ancestors"] = self._ranked_above(best, sums)
        return Scored(every, extra)

    def _ranked_above(
        self, ups: list[tuple[int, ...]], sums: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> Labels:
        longest = max((len(up) for up in self._tree.ups), default=1)
        indices = np.zeros((len(ups), longest), np.int64)
        for row, up in enumerate(ups):
            indices[row, : len(up)] = up
        scores = np.take_along_axis(sums, indices, axis=1).astype(np.float32)
        counts = np.array([len(up) for up in ups], np.int64)
        return Labels(self._tree.ids, self._tree.names, indices, scores, counts)


class SmoothHead(ZeroShotHead):
    """Zero-shot over class embeddings mixed with those of relatives in a tree (after DGP, Kampffmeyer et al. 2019).

    Options: ``tree`` as for ``tree``; ``decay`` (0.3): the weight of a relative at distance k is decay^k; ``distance``
    (2): how far relatives may be; others as ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"tree", "decay", "distance"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        return with_tree(spec, storage)

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        import hashlib

        import torch

        from curator.kernels.hierarchy import smooth

        tree = tree_for(spec)
        decay, distance = number(spec, "decay", 0.3, low=0.0, high=1.0), whole(spec, "distance", 2, low=1)
        bank = build_bank(spec.vocabulary, spec.templates, encoder, cache_dir=cache_dir)
        pairs = [
            tuple(torch.tensor(pairs, dtype=torch.long).view(-1, 2).T)
            for k in range(distance)
            for pairs in tree.relatives(k + 1)
        ]
        vectors = smooth(bank.vectors, [(of, by) for of, by in pairs], decay)
        digest = hashlib.sha256(f"{bank.digest}{tree.parents}{decay}{distance}".encode()).hexdigest()
        return {"labels": TextBank(bank.ids, bank.names, vectors, digest)}


class RelativesHead(ZeroShotHead):
    """Zero-shot with the label's relatives as further prompts: "cat, a kind of animal", "cat, such as tabby".

    ZSL-KG's idea (Nayak & Bach 2022), a class told by its neighbours in a knowledge graph, without its learned network.
    Options: ``tree`` as for ``tree``; ``children`` (5): at most so many are named; others as ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"tree", "children"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        return with_tree(spec, storage)

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        return {"labels": relatives(spec).class_bank(spec.vocabulary, encoder, cache_dir)}


def relatives(spec: LabelSetSpec) -> Ragged:
    """Every label's prompts: its names alone, with its parent, and with each of its children."""
    tree, most = tree_for(spec), whole(spec, "children", 5, low=0)
    lists = []
    for row, label in enumerate(spec.vocabulary.labels):
        phrases = [label.name, *label.aliases]
        if tree.parents[row] >= 0:
            phrases.append(f"{label.name}, a kind of {tree.names[tree.parents[row]]}")
        phrases += [f"{label.name}, such as {tree.names[child]}" for child in tree.children(row)[:most]]
        lists.append([fill(template, phrase) for template in label.templates or spec.templates for phrase in phrases])
    return ragged(lists)
