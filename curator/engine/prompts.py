"""Prompt weights and class prototypes from the stored embeddings of a run: opens its encoder and reads its parts.

Knows which sample goes with which function of ``labels``; no formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curator.config import Config
from curator.engine.compose import open_encoder
from curator.engine.maintain import read_status
from curator.labels.templates import template_set
from curator.labels.vocabulary import Vocabulary
from curator.storage import Storage

if TYPE_CHECKING:
    from curator.labels.weighing import Combine


def weigh_run(
    output: str,
    storage: Storage,
    *,
    vocabulary: str,
    templates: str,
    reference: str | None = None,
    sample: int = 10_000,
    combine: Combine = "softmax",
    select: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The weights file for ``templates`` on ``output``, a run whose encoder is opened again for the texts.

    ``reference`` is the output of a run of the same encoder over generic images; without one the corpus's own mean is
    the whole of the bias correction. Raises ConfigError.
    """
    import torch

    from curator.labels.weighing import weigh_templates
    from curator.tables.sample import sample_vectors

    labels, prompts = Vocabulary.load(vocabulary), template_set(templates)
    images = sample_vectors(output, storage, sample, seed=seed)
    generic = None if reference is None else sample_vectors(reference, storage, sample, seed=seed)
    config = Config.model_validate(read_status(output, storage).run["settings"])
    encoder = open_encoder(config)
    return weigh_templates(
        torch.from_numpy(images),
        labels,
        prompts,
        encoder,
        scale=encoder.logit_scale,
        reference=None if generic is None else torch.from_numpy(generic),
        combine=combine,
        select=select,
        cache_dir=config.encoder.cache_dir,
    )
