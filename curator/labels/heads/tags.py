"""Owns the multi-label head: each label by itself, thresholds per label, exclusion. Knows no formula of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, ColumnValues, Embeddings, Labels, TextBank
from curator.labels.banks import build_bank
from curator.labels.heads.base import Head, LabelSetSpec
from curator.labels.heads.by_label import label_row, with_contents
from curator.options import fault, number, numbers, wrong
from curator.storage.base import Storage

_CELLS = 1 << 24


class TagsHead(Head):
    """Every label whose sigmoid probability reaches its threshold, best first, at most ``top_k`` of them.

    Options: ``thresholds`` is a JSON file (or table) of a threshold by label, or ``{"thresholds": {...}, "bias": b}``
    as ``curator calibrate thresholds`` writes it; labels without one have ``min_score``. ``relative`` drops labels
    below this share of the row's best; ``exclusive`` is a list of lists of labels of which a row has one at most.
    ``scale`` and ``bias`` replace the encoder's; an encoder without a bias (CLIP) needs one.
    """

    OPTIONS = frozenset({"thresholds", "relative", "exclusive", "scale", "bias"})

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "thresholds", "exclusive", required=False)
        stated = spec.options.get("thresholds")
        if isinstance(stated, Mapping) and isinstance(stated.get("thresholds"), Mapping):
            options: dict[str, Any] = {**spec.options, "thresholds": stated["thresholds"]}
            if stated.get("bias") is not None:
                options.setdefault("bias", stated["bias"])
            spec = replace(spec, options=options)
        return spec

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        return (
            ColumnSpec(spec.name, "labels", f"Up to {spec.top_k} of {len(spec.vocabulary)} tags that reach thresholds"),
            ColumnSpec(f"{spec.name}_abstained", "flag", "No tag reached its threshold"),
        )

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        return {"labels": build_bank(spec.vocabulary, spec.templates, encoder, cache_dir=cache_dir)}

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        import torch

        super().__init__(spec, banks, scale=scale, bias=bias)
        self._bank = banks["labels"]
        self._top_k = spec.top_k
        self._scale = number(spec, "scale", scale, low=1e-6)
        if bias is None and "bias" not in spec.options:
            raise fault(
                spec,
                "this encoder has no logit bias for a sigmoid; make thresholds with `curator calibrate thresholds`, "
                "or give the option bias",
            )
        self._bias = number(spec, "bias", 0.0 if bias is None else bias)
        self._relative = number(spec, "relative", 0.0, low=0.0, high=1.0)
        self._thresholds = torch.full((len(spec.vocabulary),), spec.min_score)
        for name, value in numbers(spec, "thresholds", low=0.0, high=1.0).items():
            self._thresholds[label_row(spec, "thresholds", name)] = value
        self._exclusive = [torch.tensor(rows) for rows in _groups(spec)]

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        import torch

        from curator.kernels.scoring import probabilities
        from curator.kernels.tags import select_tags

        vectors = embeddings.vectors
        bank = self._bank.vectors.to(vectors.device)
        thresholds = self._thresholds.to(vectors.device)
        rows = max(1, _CELLS // len(bank))
        picked = [
            select_tags(
                probabilities(
                    vectors[start : start + rows] @ bank.T, scale=self._scale, bias=self._bias, family="sigmoid"
                ),
                thresholds,
                self._top_k,
                relative=self._relative,
                exclusive=self._exclusive,
            )
            for start in range(0, max(1, len(vectors)), rows)
        ]
        scores, indices, counts = (torch.cat(each).cpu().numpy() for each in zip(*picked, strict=True))
        labels = Labels(self._bank.ids, self._bank.names, indices=indices, scores=scores, counts=counts)
        return {self.name: labels, f"{self.name}_abstained": counts == 0}


def _groups(spec: LabelSetSpec) -> list[list[int]]:
    value = spec.options.get("exclusive") or []
    if not isinstance(value, (list, tuple)) or not all(isinstance(group, (list, tuple)) for group in value):
        raise wrong(spec, "exclusive", "a list of lists of labels")
    return [[label_row(spec, "exclusive", name) for name in group] for group in value if group]
