"""Owns the head whose classes are means of sentences that describe them (CuPL)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from curator.annotators import TextEncoder
from curator.data import TextBank
from curator.labels.banks import prompts_of
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import by_label, require_all, with_contents
from curator.labels.heads.texts import Ragged, ragged
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import fault, flag
from curator.storage.base import Storage


class CuplHead(ZeroShotHead):
    """Zero-shot over the renormalised mean of each label's sentences (Pratt et al. 2023).

    Options: ``descriptions``, the published form {"label": ["sentence", …], …}; ``with_templates`` (false) puts the
    prompts of the label set into the same mean; others as ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"descriptions", "with_templates"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "descriptions")
        sentences(spec)
        return spec

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        return {"labels": sentences(spec).class_bank(spec.vocabulary, encoder, cache_dir)}


def sentences(spec: LabelSetSpec) -> Ragged:
    """Every label's sentences, after its own prompts where they were asked for."""
    found = by_label(spec, "descriptions")
    require_all(spec, "descriptions", found)
    with_templates = flag(spec, "with_templates", default=False)
    texts = []
    for row, label in enumerate(spec.vocabulary.labels):
        own = [text for text in found[row] if text]
        if not own:
            raise fault(spec, f"descriptions of {label.name!r} hold no text")
        texts.append([*(prompts_of(label, spec.templates) if with_templates else ()), *own])
    return ragged(texts)
