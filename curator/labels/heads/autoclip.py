"""Owns the head that weighs prompt templates for every image by itself (AutoCLIP)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, TextBank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.dense import DenseHead, Scored, strings_column, template_banks
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import number, whole

if TYPE_CHECKING:
    from torch import Tensor


class AutoClipHead(DenseHead):
    """Per-image template weights: one gradient step, as long as their entropy asks for (Metzen et al. 2023).

    Options: ``beta`` (0.85; 1 is the uniform mean of cosines), ``evidence`` (0): that many templates of largest weight
    go to ``NAME_templates``; others as ``zero_shot``. Keeps all C x T prompt embeddings on the device.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"beta", "evidence"}

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        number(spec, "beta", 0.85, low=0.0, high=1.0)
        columns = super().columns_of(spec)
        if whole(spec, "evidence", 0, low=0):
            columns += (strings_column(spec, "templates", "The templates with the largest weights for the image"),)
        return columns

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        import torch

        banks, digest = template_banks(spec, encoder, cache_dir)
        ids, names, count = banks[0].ids, banks[0].names, len(banks)
        every = torch.stack([bank.vectors for bank in banks], dim=1).flatten(0, 1)  # class-major: row c * T + t
        prompts = tuple(f"{row}" for row in range(len(ids) * count))
        return {
            "labels": TextBank(ids, names, every.view(len(ids), count, -1).mean(dim=1), digest),
            "prompts": TextBank(prompts, prompts, every, digest),
        }

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        super().__init__(spec, banks, scale=scale, bias=bias)
        # The product of a block is taken in one piece, and the transposed bank is what it reads fastest.
        self._prompts = banks["prompts"].vectors.to(self._vectors.dtype).T
        self._beta = number(spec, "beta", 0.85, low=0.0, high=1.0)
        self._evidence = min(whole(spec, "evidence", 0, low=0), len(spec.templates))

    @property
    def width(self) -> int:
        return int(self._prompts.shape[1])

    def score(self, vectors: Tensor) -> Scored:
        from curator.kernels.prompt_weights import autoclip
        from curator.kernels.ranking import largest

        if self._prompts.device != vectors.device:
            self._prompts = self._prompts.to(vectors.device)
        cosines = vectors.to(self._prompts.dtype) @ self._prompts
        scores, weights = autoclip(
            cosines.view(len(vectors), len(self._bank.names), len(self._spec.templates)), beta=self._beta
        )
        if not self._evidence:
            return Scored(self.probabilities(scores))
        _, best = largest(weights, self._evidence)
        templates = [[self._spec.templates[i] for i in row] for row in best.tolist()]
        return Scored(self.probabilities(scores), {f"{self.name}_templates": templates})
