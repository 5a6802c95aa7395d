"""Owns the heads that reckon with contextual factors: PerceptionCLIP and ideal words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, TextBank
from curator.labels.banks import text_bank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import with_contents
from curator.labels.heads.dense import DenseHead, Scored
from curator.labels.heads.factors import factor_columns, factors_of, prompts_in
from curator.labels.heads.texts import ragged
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import choice, number
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor


class PerceptionClipHead(DenseHead):
    """Infers the image's context, then the label within it (An et al. 2023); ``NAME_FACTOR`` has each factor's values.

    Options: ``factors``, {"background": {"grass": ["on grass", …], …}, …}; ``use`` (all of them); ``main`` ("a photo of
    a {}"); ``steps`` two | one (one mean over the contexts per label); ``infer`` label (by the labels' own prompts) |
    object (by prompts with the word "object"); ``temperature`` (1) of the context. Label templates do not count here.
    """

    OPTIONS = ZeroShotHead.OPTIONS - {"bias"} | {"factors", "use", "main", "steps", "infer", "temperature"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "factors")
        prompts_in(spec, factors_of(spec), ["object"])
        return spec

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        choice(spec, "steps", "two", ("two", "one"))
        choice(spec, "infer", "label", ("label", "object"))
        number(spec, "temperature", 1.0, low=1e-3)
        return (*super().columns_of(spec), *factor_columns(spec, factors_of(spec)))

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        from curator.kernels.vectors import class_means

        factors = factors_of(spec)
        texts = ragged(prompts_in(spec, factors, [*spec.vocabulary.names, "object"]))
        bank = text_bank(texts.unique, encoder, cache_dir=cache_dir)
        every = class_means(bank.vectors[texts.rows], texts.owners, len(texts.lists))
        count = len(spec.vocabulary) * factors.combinations
        labels = class_means(every[:count], _repeated(len(spec.vocabulary), factors.combinations), len(spec.vocabulary))
        digest = texts.digest(bank)
        names = tuple(map(str, range(len(every))))
        return {
            "labels": TextBank(spec.vocabulary.ids, spec.vocabulary.names, labels, digest),
            "contexts": TextBank(names, names, every, digest),
        }

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        from dataclasses import replace

        super().__init__(replace(spec, family="softmax"), banks, scale=scale, bias=bias)
        self._factors = factors_of(spec)
        self._contexts = banks["contexts"].vectors.to(self._vectors.dtype)
        self._one_step = spec.options.get("steps", "two") == "one"
        self._by_object = spec.options.get("infer", "label") == "object"
        self._temperature = number(spec, "temperature", 1.0, low=1e-3)

    @property
    def width(self) -> int:
        return len(self._contexts)

    def score(self, vectors: Tensor) -> Scored:
        from curator.kernels.context import marginals, perceive

        if self._contexts.device != vectors.device:
            self._contexts, self._vectors = self._contexts.to(vectors.device), self._vectors.to(vectors.device)
        low, combinations = vectors.to(self._contexts.dtype), self._factors.combinations
        logits = (low @ self._contexts.T).float() * self._scale
        classes = logits[:, :-combinations].view(len(vectors), len(self._bank.names), combinations)
        given = logits[:, -combinations:] if self._by_object else None
        scores, inferred = perceive(classes, temperature=self._temperature, context=given)
        if self._one_step:
            scores = self.probabilities((low @ self._vectors.T).float())
        extra = {
            f"{self.name}_{name}": self.ranked(self._factors.bank(position, self._contexts), values)
            for position, (name, values) in enumerate(
                zip(self._factors.names, marginals(inferred, self._factors.sizes), strict=True)
            )
        }
        return Scored(scores, extra)


class IdealWordsHead(DenseHead):
    """Labels and contexts as sums of one vector each (Trager et al. 2023): O + A vectors for O x A prompts.

    The label's vector has every factor averaged out, so that a nuisance cannot decide; ``NAME_FACTOR`` has each
    factor's values with the label averaged out. Options: ``factors``, ``use``, ``main`` as for ``perceptionclip``;
    others as ``zero_shot``. Label templates do not count here.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"factors", "use", "main"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "factors")
        prompts_in(spec, factors_of(spec), ["object"])
        return spec

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        return (*super().columns_of(spec), *factor_columns(spec, factors_of(spec)))

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        from curator.kernels.context import ideal_words
        from curator.kernels.vectors import class_means

        factors = factors_of(spec)
        texts = ragged(prompts_in(spec, factors, spec.vocabulary.names))
        bank = text_bank(texts.unique, encoder, cache_dir=cache_dir)
        every = class_means(bank.vectors[texts.rows], texts.owners, len(texts.lists))
        origin, words = ideal_words(every, (len(spec.vocabulary), *factors.sizes))
        digest = texts.digest(bank)
        banks = {"labels": TextBank(spec.vocabulary.ids, spec.vocabulary.names, origin + words[0], digest)}
        for position, name in enumerate(factors.names):
            banks[name] = factors.bank(position, origin + words[position + 1])
        return banks

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        super().__init__(spec, banks, scale=scale, bias=bias)
        self._values = {name: banks[name] for name in factors_of(spec).names}

    def score(self, vectors: Tensor) -> Scored:
        import torch

        if self._vectors.device != vectors.device:
            self._vectors = self._vectors.to(vectors.device)
        scores = self.probabilities((vectors.to(self._vectors.dtype) @ self._vectors.T).float())
        extra = {}
        for name, bank in self._values.items():
            logits = vectors @ bank.vectors.to(vectors.device).T * self._scale
            extra[f"{self.name}_{name}"] = self.ranked(bank, torch.softmax(logits, dim=1))
        return Scored(scores, extra)


def _repeated(count: int, times: int) -> Tensor:
    import torch

    return torch.arange(count).repeat_interleave(times)
