"""Owns the head that weighs prompt templates by scores from a sample of the corpus (ZPE)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from curator.annotators import TextEncoder
from curator.data import TextBank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import with_contents
from curator.labels.heads.dense import template_banks
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import fault, table
from curator.storage.base import Storage


class ZpeHead(ZeroShotHead):
    """Zero-shot over the weighted mean of the templates' class embeddings (Allingham et al. 2023).

    Option ``weights``: the file that ``curator prompts weigh`` writes, {"weights": {template: weight}, …}. It must
    weigh every template of the label set; those of weight 0 are left out. Other options as ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"weights"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "weights")
        template_weights(spec)
        return spec

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        import hashlib
        from dataclasses import replace

        import torch

        from curator.kernels.prompt_weights import weighted_classes

        weights = template_weights(spec)
        made_by = table(spec, "weights").get("encoder_digest")
        if made_by not in (None, encoder.digest):
            raise fault(spec, "weights were made with another encoder; run curator prompts weigh with this one")
        kept = {template: weight for template, weight in weights.items() if weight > 0}
        banks, digest = template_banks(replace(spec, templates=tuple(kept)), encoder, cache_dir)
        vectors = weighted_classes(torch.stack([bank.vectors for bank in banks]), torch.tensor(list(kept.values())))
        digest = hashlib.sha256(f"{digest}{list(kept.values())}".encode()).hexdigest()
        return {"labels": TextBank(banks[0].ids, banks[0].names, vectors, digest)}


def template_weights(spec: LabelSetSpec) -> dict[str, float]:
    """The weight of every template of the label set. ConfigError for templates without one, and for negative ones."""
    stated = table(spec, "weights").get("weights")
    if not isinstance(stated, Mapping):
        raise fault(spec, "weights has no table 'weights' of template to weight; make it with curator prompts weigh")
    missing = [template for template in spec.templates if template not in stated]
    if missing:
        raise fault(
            spec, f"weights has none for the template {missing[0]!r}; run curator prompts weigh with these templates"
        )
    weights = {template: stated[template] for template in spec.templates}
    for template, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise fault(spec, f"the weight of {template!r} is {weight!r}; it must be a number of at least 0")
    if not sum(weights.values()):
        raise fault(spec, "every template has weight 0; run curator prompts weigh with a lower --select")
    return weights
