"""Owns the file of prompt weights that the head ``zpe`` reads: how it is made from a sample of embeddings.

Knows the formula only by its kernel, and no run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from curator.annotators import TextEncoder
from curator.errors import ConfigError
from curator.labels.banks import build_bank
from curator.labels.templates import check_templates
from curator.labels.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

Combine: TypeAlias = Literal["softmax", "scores", "equal"]


def weigh_templates(
    images: Tensor,
    vocabulary: Vocabulary,
    templates: Sequence[str],
    encoder: TextEncoder,
    *,
    scale: float,
    reference: Tensor | None = None,
    combine: Combine = "softmax",
    select: float | None = None,
    cache_dir: str | Path | None = None,
) -> dict[str, Any]:
    """What a weights file holds: the weight and the score of every template, how they were made, and for whom.

    ``images`` [N, D] is a sample of the corpus and ``reference`` [M, D] of generic images, both stored embeddings of
    ``encoder``; see ``kernels.prompt_weights.zpe_scores``. ``select`` keeps the templates whose score lies more than so
    many MADs over the median (the paper: 0.5 for ImageNet-like, 2 for fine-grained vocabularies) and gives the others
    weight 0. ``combine``: softmax of the scores, the scores themselves, or equal weights.
    """
    import torch

    from curator.kernels.prompt_weights import zpe_scores, zpe_select

    if images.shape[1] != encoder.dim or (reference is not None and reference.shape[1] != encoder.dim):
        raise ConfigError(
            f"the sample's embeddings do not have the encoder's {encoder.dim} dimensions; name its encoder"
        )
    if any(label.templates for label in vocabulary.labels):
        raise ConfigError("labels with own templates share none with the others; weigh a vocabulary without them")
    templates = tuple(dict.fromkeys(check_templates(templates, "templates to weigh")))
    scores = zpe_scores(
        images,
        _class_vectors(vocabulary, templates, encoder, cache_dir),
        scale=scale,
        reference=reference,
    )
    kept = torch.ones(len(scores), dtype=torch.bool) if select is None else zpe_select(scores, select)
    if not bool(kept.any()):
        raise ConfigError(f"no template's score lies {select:g} MADs over the median; give a lower --select")
    # The softmax runs over all templates, as in the paper, so that selecting does not change what is kept.
    ways = {"softmax": torch.softmax(scores, 0), "scores": scores.clamp_min(0), "equal": torch.ones_like(scores)}
    weights = ways[combine] * kept
    return {
        "weights": dict(zip(templates, weights.tolist(), strict=True)),
        "scores": dict(zip(templates, scores.tolist(), strict=True)),
        "combine": combine,
        "select": select,
        "images": len(images),
        "reference_images": 0 if reference is None else len(reference),
        "encoder_digest": encoder.digest,
        "vocabulary_digest": vocabulary.digest,
    }


def _class_vectors(
    vocabulary: Vocabulary, templates: Sequence[str], encoder: TextEncoder, cache_dir: str | Path | None
) -> Iterator[Tensor]:
    for template in templates:
        yield build_bank(vocabulary, (template,), encoder, cache_dir=cache_dir).vectors
