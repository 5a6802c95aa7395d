"""Owns the plain zero-shot head: CLIP's softmax, or SigLIP's sigmoid, over one class embedding per label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, ColumnValues, Embeddings, Labels, TextBank
from curator.labels.banks import build_bank
from curator.labels.heads.base import Head, LabelSetSpec
from curator.options import choice, fault, number

if TYPE_CHECKING:
    from curator.kernels.scoring import Family

_PRECISIONS = ("float32", "bfloat16", "float16")


class ZeroShotHead(Head):
    """Ranks the labels by the probability that the encoder's own scale (and bias) give to them.

    Options: ``scale`` and ``bias`` replace the encoder's (a temperature is 1 / scale); ``precision`` is that of the
    products (float32; bfloat16 is several times faster for vocabularies of 100,000 labels).
    """

    OPTIONS = frozenset({"scale", "bias", "precision"})

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        return (
            ColumnSpec(
                spec.name,
                "labels",
                f"Best {min(spec.top_k, len(spec.vocabulary))} of {len(spec.vocabulary)} labels, by probability",
            ),
            ColumnSpec(
                f"{spec.name}_abstained",
                "flag",
                f"No label reached {spec.min_score:g}, or the best led the next by less than {spec.min_margin:g}",
            ),
        )

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        return {"labels": build_bank(spec.vocabulary, spec.templates, encoder, cache_dir=cache_dir)}

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        import torch

        super().__init__(spec, banks, scale=scale, bias=bias)
        self._spec = spec
        self._bank = banks["labels"]
        self._scale = number(spec, "scale", scale, low=1e-6)
        self._bias = number(spec, "bias", bias)
        self._family: Family = _family(spec, self._bias)
        precision = choice(spec, "precision", "float32", _PRECISIONS)
        self._vectors = self._bank.vectors.to(getattr(torch, precision))

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        from curator.kernels.scoring import decide, top_probabilities

        device = embeddings.vectors.device
        if self._vectors.device != device:
            self._vectors = self._vectors.to(device)
        scores, indices = top_probabilities(
            embeddings.vectors,
            self._vectors,
            max(self._spec.top_k, 2),  # the margin needs the runner-up
            scale=self._scale,
            bias=self._bias,
            family=self._family,
        )
        k = min(self._spec.top_k, scores.shape[1])
        counts, abstained = decide(scores, k=k, min_score=self._spec.min_score, min_margin=self._spec.min_margin)
        labels = Labels(
            ids=self._bank.ids,
            names=self._bank.names,
            indices=indices[:, :k].cpu().numpy(),
            scores=scores[:, :k].cpu().numpy(),
            counts=counts.cpu().numpy(),
        )
        return {self.name: labels, f"{self.name}_abstained": abstained.cpu().numpy()}


def _family(spec: LabelSetSpec, bias: float | None) -> Family:
    if spec.family == "auto":
        return "softmax" if bias is None else "sigmoid"
    if spec.family == "sigmoid" and bias is None:
        raise fault(spec, "this encoder has no logit bias for a sigmoid; use family softmax, or give the option bias")
    return spec.family
