"""Owns the head that projects directions out of the image, or boosts them, before the plain ranking (RoboShot)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from curator.annotators import TextEncoder
from curator.data import ColumnValues, Embeddings, TextBank
from curator.labels.banks import build_bank, text_bank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import with_contents
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import fault, phrases, table
from curator.storage.base import Storage


class RoboShotHead(ZeroShotHead):
    """Zero-shot after projecting spurious directions out of the image and doubling useful ones (Adila et al. 2024).

    Option ``pairs``: {"spurious": [["a photo of a bird on land", "a photo of a bird on water"], …], "useful": […]}; a
    direction is the difference of a pair's embeddings. Others as ``zero_shot``. The stored embedding is not changed.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"pairs"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "pairs")
        pairs(spec)
        return spec

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        banks = {"labels": build_bank(spec.vocabulary, spec.templates, encoder, cache_dir=cache_dir)}
        for role, found in pairs(spec).items():
            if found:
                sides = [side for pair in found for side in pair]
                banks[role] = text_bank(sides, encoder, cache_dir=cache_dir)
        return banks

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        from curator.kernels.context import orthonormal

        super().__init__(spec, banks, scale=scale, bias=bias)
        none = self._bank.vectors.new_zeros(0, self._bank.vectors.shape[1])
        spans = {
            role: orthonormal(banks[role].vectors[0::2] - banks[role].vectors[1::2]) if role in banks else none
            for role in ("spurious", "useful")
        }
        self._reject, self._boost = spans["spurious"], spans["useful"]

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        from curator.kernels.context import robustify

        device = embeddings.vectors.device
        if self._reject.device != device:
            self._reject, self._boost = self._reject.to(device), self._boost.to(device)
        return super().__call__(replace(embeddings, vectors=robustify(embeddings.vectors, self._reject, self._boost)))


def pairs(spec: LabelSetSpec) -> dict[str, list[tuple[str, ...]]]:
    """The pairs of texts of each role. ConfigError where there is none at all, or one is not a pair."""
    given = table(spec, "pairs")
    for key in given:
        if key not in ("spurious", "useful"):
            raise fault(spec, f"pairs has the key {key!r}; use spurious and useful")
    found = {}
    for role in ("spurious", "useful"):
        found[role] = [phrases(spec, f"a pair of {role}", pair) for pair in given.get(role, ())]
        for pair in found[role]:
            if len(pair) != 2:
                raise fault(spec, f"{role} has {list(pair)!r}; a pair is two different texts")
    if not any(found.values()):
        raise fault(spec, "pairs holds no pair; list some under spurious or useful")
    return found
