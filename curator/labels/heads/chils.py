"""Owns the head that scores sub-classes and answers with their classes (CHiLS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, TextBank
from curator.errors import ConfigError
from curator.kernels.names import plain
from curator.labels.banks import build_bank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import by_label, require_all, with_contents
from curator.labels.heads.dense import DenseHead, Scored
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.labels.tree import tree_of
from curator.labels.vocabulary import Label, Vocabulary
from curator.options import choice, fault, flag
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_MODES = ("normal", "hat", "supagg", "plain")


class ChilsHead(DenseHead):
    """Sub-classes weighed by their class's probability, in ``NAME_sub``; ``NAME`` has classes (Novack et al. 2023).

    Options: ``children``, the published form {"class": ["sub-class", …], …}, to which the class itself is added and
    whose names get the class's appended unless ``append`` is false; without it the roots of the vocabulary are the
    classes and the leaves under them their sub-classes. ``mode`` normal | hat | supagg | plain (no reweighting). A
    class scores as its best sub-class; scores are divided by their sum. Templates, ``scale``, ``precision`` as
    ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS - {"bias"} | {"children", "append", "mode"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "children", required=False)
        families(spec)
        return spec

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        choice(spec, "mode", "normal", _MODES)
        classes, children, _ = families(spec)
        sub = ColumnSpec(f"{spec.name}_sub", "labels", f"Best of {len(children)} sub-classes, by weighed probability")
        return (*super().columns_of(replace(spec, vocabulary=classes, options={})), sub)

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        classes, children, _ = families(spec)
        return {
            "labels": build_bank(classes, spec.templates, encoder, cache_dir=cache_dir),
            "children": build_bank(children, spec.templates, encoder, cache_dir=cache_dir),
        }

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        import torch

        super().__init__(replace(spec, family="softmax"), banks, scale=scale, bias=bias)
        self._children = banks["children"]
        self._child_vectors = self._children.vectors.to(self._vectors.dtype)
        self._parent_of = torch.tensor(families(spec)[2])
        self._mode = choice(spec, "mode", "normal", _MODES)

    @property
    def width(self) -> int:
        return max(len(self._children.names), len(self._bank.names))

    def score(self, vectors: Tensor) -> Scored:
        from curator.kernels import hierarchy

        if self._vectors.device != vectors.device:
            self._vectors, self._child_vectors = (
                self._vectors.to(vectors.device),
                self._child_vectors.to(vectors.device),
            )
            self._parent_of = self._parent_of.to(vectors.device)
        low, scale = vectors.to(self._vectors.dtype), self._scale
        children, classes = (low @ self._child_vectors.T).float() * scale, (low @ self._vectors.T).float() * scale
        mode: hierarchy.ChilsMode = self._mode  # type: ignore[assignment]
        scores = hierarchy.chils(children, classes, self._parent_of, mode)
        sub = hierarchy.chils(children, classes, self._parent_of) if mode == "supagg" else scores
        if mode != "supagg":
            scores = hierarchy.class_maxima(scores, self._parent_of, len(self._bank.names))
        return Scored(_shares(scores), {f"{self.name}_sub": self.ranked(self._children, _shares(sub))})


def _shares(scores: Tensor) -> Tensor:
    return scores / scores.sum(dim=1, keepdim=True).clamp_min(1e-30)


def families(spec: LabelSetSpec) -> tuple[Vocabulary, Vocabulary, list[int]]:
    """Classes, sub-classes, and the position of each sub-class's class."""
    if spec.options.get("children") is None:
        return _from_parents(spec)
    found = by_label(spec, "children")
    require_all(spec, "children", found)
    append = flag(spec, "append", default=True)
    children, parent_of = [], []
    for row, label in enumerate(spec.vocabulary.labels):
        names = {plain(label.name): label.name}
        for name in found[row]:
            longer = name if not append or plain(label.name) in plain(name) else f"{name} {label.name}"
            if longer:
                names.setdefault(plain(longer), longer)
        for number, name in enumerate(names.values()):
            children.append(Label(f"{label.id}/{number}", name, templates=label.templates))
            parent_of.append(row)
    return spec.vocabulary, Vocabulary(tuple(children)), parent_of


def _from_parents(spec: LabelSetSpec) -> tuple[Vocabulary, Vocabulary, list[int]]:
    try:
        tree = tree_of(spec.vocabulary)
    except ConfigError as error:
        raise fault(spec, f"needs sub-classes: the option children, or parents in the vocabulary ({error})") from error
    labels = spec.vocabulary.labels
    roots = [row for row, label in enumerate(labels) if label.parent is None]
    place = {row: position for position, row in enumerate(roots)}
    classes = Vocabulary(tuple(labels[row] for row in roots))
    children = Vocabulary(tuple(replace(labels[row], parent=None) for row in tree.leaves))
    return classes, children, [place[tree.ups[row][-1]] for row in tree.leaves]
