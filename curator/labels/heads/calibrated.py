"""Owns the zero-shot head with a bias per label or group of labels: calibrated stacking, hubs lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from curator.data import ColumnSpec, ColumnValues, Embeddings, Labels, TextBank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import label_row, with_contents
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import fault, numbers, wrong
from curator.storage.base import Storage


class CalibratedHead(ZeroShotHead):
    """Ranks by the cosine minus the bias of the label and of its group (Chao et al. 2016: calibrated stacking).

    Options beyond those of zero_shot: ``offsets`` is a JSON file (or table) of a number by label, as ``curator
    calibrate hubs`` writes it; ``groups`` one of lists of labels by group, and ``group_bias`` of a number by group, as
    ``curator calibrate groups`` finds it. All are in units of the cosine and are subtracted. With groups there is a
    column ``NAME_group``: the group of the best label.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"offsets", "groups", "group_bias"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        return with_contents(spec, storage, "offsets", "groups", "group_bias", required=False)

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        columns = super().columns_of(spec)
        if not spec.options.get("groups"):
            return columns
        return (
            *columns,
            ColumnSpec(f"{spec.name}_group", "strings", "Group of the best label, where it has one"),
        )

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        import torch

        super().__init__(spec, banks, scale=scale, bias=bias)
        offsets = torch.zeros(len(spec.vocabulary))
        for name, value in numbers(spec, "offsets").items():
            offsets[label_row(spec, "offsets", name)] += value
        self._groups = _group_of(spec)
        biases = numbers(spec, "group_bias")
        for group in biases:
            if group not in self._groups.values():
                raise fault(spec, f"group_bias names the group {group!r}, which groups does not have")
        for row, group in self._groups.items():
            offsets[row] += biases.get(group, 0.0)
        # cos - b is the product of (x, 1) and (t, -b): so the search over the bank stays what it is.
        self._vectors = torch.cat([self._vectors, -offsets.unsqueeze(1).to(self._vectors)], dim=1)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        import torch

        ones = embeddings.vectors.new_ones(len(embeddings.vectors), 1)
        values = super().__call__(replace(embeddings, vectors=torch.cat([embeddings.vectors, ones], dim=1)))
        if self._groups:
            labels = values[self.name]
            assert isinstance(labels, Labels)
            best = [row[0] if count else -1 for row, count in zip(labels.indices, labels.counts, strict=True)]
            values[f"{self.name}_group"] = [[self._groups[row]] if row in self._groups else [] for row in best]
        return values


def _group_of(spec: LabelSetSpec) -> dict[int, str]:
    groups: Any = spec.options.get("groups") or {}
    if not isinstance(groups, Mapping) or not all(isinstance(names, (list, tuple)) for names in groups.values()):
        raise wrong(spec, "groups", "a table of lists of labels")
    found: dict[int, str] = {}
    for group, names in groups.items():
        for name in names:
            row = label_row(spec, f"group {group!r}", name)
            if found.setdefault(row, group) != group:
                raise fault(spec, f"label {name!r} is in the groups {found[row]!r} and {group!r}; leave it in one")
    return found
