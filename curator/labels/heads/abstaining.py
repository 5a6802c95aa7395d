"""Owns how any head abstains from images that its vocabulary does not know: a score column, and a threshold on it.

Wraps another head, which it does not look into; the scores themselves are kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, ColumnValues, Embeddings, Labels, TextBank
from curator.errors import nearest
from curator.labels.banks import build_bank, text_bank
from curator.labels.heads.base import Head, LabelSetSpec
from curator.labels.templates import fill
from curator.options import Options, choice, fault, lines, needed, number, pattern, texts, whole
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

SCORES = ("max_probability", "margin", "entropy", "energy", "mcm", "neglabel")
KEYS = frozenset({"score", "threshold", "temperature", "words", "template", "percentile", "share", "groups"})
_OWN_SCORES = ("max_probability", "margin")
_TEMPLATE = "the nice {}"
_PREFIX = "head."
_CELLS = 1 << 24


class Abstaining(Head):
    """A head with a column ``NAME_ood``, higher for images more foreign to the vocabulary.

    ``abstain`` of the label set: ``score`` is max_probability or margin (1 - what the head's own ranking says), entropy
    (of the softmax over plain class embeddings, 1 is uniform), energy, mcm or neglabel (of the cosines to them);
    a row whose score exceeds ``threshold`` abstains. ``temperature`` is T of energy and mcm (1) and t of neglabel (1).
    neglabel takes negative labels from the file ``words`` (a word a line), with ``template`` ("the nice {}") around
    words and labels, ``percentile`` (0.95), ``share`` (0.15) and ``groups`` (100).
    """

    INNER: ClassVar[type[Head]]

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = cls.INNER.read(spec, storage)
        asked = _asked(spec)
        if choice(asked, "score", "", SCORES) != "neglabel":
            return spec
        needed(asked, "words", "a file with a word a line, such as a list of nouns")
        named = isinstance(spec.abstain["words"], str)
        words = lines(asked, "words", storage) if named else texts(asked, "words", ())
        own = {name.casefold() for label in spec.vocabulary.labels for name in (label.name, *label.aliases)}
        kept = [word for word in words if word.casefold() not in own]
        pattern(asked, "template", _TEMPLATE, "{}")
        return replace(spec, abstain={**spec.abstain, "words": kept})

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        asked = _asked(spec)
        score = choice(asked, "score", "", SCORES)
        threshold = spec.abstain.get("threshold")
        rule = "" if threshold is None else f"; above {number(asked, 'threshold', 0.0):g} the row abstains"
        columns = [
            replace(column, description=f"{column.description}, or {spec.name}_ood is too high")
            if column.name == f"{spec.name}_abstained"
            else column
            for column in cls.INNER.columns_of(spec)
        ]
        if not any(column.name == spec.name and column.kind == "labels" for column in columns):
            raise fault(spec, "ranks no labels, so that it cannot abstain; remove abstain")
        words = f"How foreign the image is to the vocabulary, by {score} (higher is more foreign){rule}"
        return (*columns, ColumnSpec(f"{spec.name}_ood", "score", words))

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        banks = {f"{_PREFIX}{role}": bank for role, bank in cls.INNER.prepare(spec, encoder, cache_dir).items()}
        if spec.abstain["score"] in _OWN_SCORES:
            return banks
        if spec.abstain["score"] != "neglabel":
            return {**banks, "labels": build_bank(spec.vocabulary, spec.templates, encoder, cache_dir=cache_dir)}
        template = pattern(_asked(spec), "template", _TEMPLATE, "{}")
        return {
            **banks,
            "labels": build_bank(spec.vocabulary, (template,), encoder, cache_dir=cache_dir),
            "words": text_bank([fill(template, word) for word in spec.abstain["words"]], encoder, cache_dir=cache_dir),
        }

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        super().__init__(spec, banks, scale=scale, bias=bias)
        self._asked = _asked(spec)
        self._top_k = spec.top_k
        own = {role.removeprefix(_PREFIX): bank for role, bank in banks.items() if role.startswith(_PREFIX)}
        # The margin needs the runner-up, whatever is written.
        self._inner = self.INNER(replace(spec, top_k=max(2, spec.top_k)), own, scale=scale, bias=bias)
        self._score = spec.abstain["score"]
        self._threshold = spec.abstain.get("threshold")
        self._temperature = number(self._asked, "temperature", 1.0, low=1e-6)
        self._scale = scale
        self._bank = banks["labels"].vectors if "labels" in banks else None
        self._negatives: Tensor | None = None
        self._groups: list[Tensor] = []
        if self._score == "neglabel":
            self._negatives, self._groups = self._mined(banks)

    def _mined(self, banks: Mapping[str, TextBank]) -> tuple[Tensor, list[Tensor]]:
        from curator.kernels.foreign import deal, mine_negatives

        words = banks["words"].vectors
        chosen = mine_negatives(
            banks["labels"].vectors,
            words,
            percentile=number(self._asked, "percentile", 0.95, low=0.0, high=1.0),
            share=number(self._asked, "share", 0.15, low=0.0, high=1.0),
        )
        groups = min(whole(self._asked, "groups", 100, low=1), len(chosen))
        return words[chosen], deal(len(chosen), groups)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        values = dict(self._inner(embeddings))
        ranked = values[self.name]
        assert isinstance(ranked, Labels)
        foreign = self._foreign(embeddings.vectors, ranked)
        values[self.name] = replace(
            ranked,
            indices=ranked.indices[:, : self._top_k],
            scores=ranked.scores[:, : self._top_k],
            counts=np.minimum(ranked.counts, self._top_k),
        )
        flag = f"{self.name}_abstained"
        if self._threshold is not None and flag in values:
            values[flag] = np.asarray(values[flag], np.bool_) | (foreign > self._threshold)
        return {**values, f"{self.name}_ood": foreign}

    def _foreign(self, vectors: Tensor, ranked: Labels) -> np.ndarray[Any, np.dtype[np.float32]]:
        if self._score in _OWN_SCORES:
            best = np.zeros((len(ranked.scores), 2), np.float32)
            best[:, : ranked.scores.shape[1]] = ranked.scores[:, :2]
            known = best[:, 0] - (best[:, 1] if self._score == "margin" else 0.0)
            return (1.0 - known).astype(np.float32)
        import torch

        return torch.cat([self._of_cosines(block) for block in self._blocks(vectors)]).cpu().numpy()

    def _blocks(self, vectors: Tensor) -> Iterator[Tensor]:
        """The rows in portions whose cosines to everything stay within a bounded block."""
        assert self._bank is not None
        width = len(self._bank) + (0 if self._negatives is None else len(self._negatives))
        rows = max(1, _CELLS // width)
        for start in range(0, max(1, len(vectors)), rows):
            yield vectors[start : start + rows]

    def _of_cosines(self, vectors: Tensor) -> Tensor:
        from curator.kernels import foreign

        assert self._bank is not None
        cosine = vectors @ self._bank.to(vectors.device).T
        if self._score == "entropy":
            return 1.0 - foreign.certainty(cosine, self._scale)
        if self._score == "energy":
            return -foreign.energy(cosine, self._temperature)
        if self._score == "mcm":
            return 1.0 - foreign.mcm(cosine, self._temperature)
        assert self._negatives is not None
        factor = self._scale / self._temperature
        negative = vectors @ self._negatives.to(vectors.device).T
        return 1.0 - foreign.neglabel(factor * cosine, factor * negative, self._groups)


@cache
def abstaining(inner: type[Head]) -> type[Head]:
    """The class of ``inner`` heads that also abstain by a score of their own."""
    return type(f"Abstaining{inner.__name__}", (Abstaining,), {"INNER": inner, "OPTIONS": inner.OPTIONS})


def _asked(spec: LabelSetSpec) -> Options:
    """What ``abstain`` asks for, as the readers of options want it."""
    asked = Options(f"label set {spec.name!r}, abstain", spec.abstain)
    for key in spec.abstain:
        if key not in KEYS:
            raise fault(asked, f"has no option {key!r}; {nearest(key, KEYS)}")
    return asked
