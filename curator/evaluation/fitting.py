"""Brings a sample of a run together with a vocabulary and the run's encoder, for what is fitted on it.

Knows which pieces go together; no formula.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curator.engine.compose import run_encoder
from curator.engine.ledger import Ledger
from curator.errors import ConfigError
from curator.evaluation.calibrate import area_of, codes_of, fit_temperature, sweep_groups, tag_thresholds
from curator.evaluation.predictions import Sample, labelled_sample
from curator.evaluation.prompt_search import Found, asking, search
from curator.evaluation.truth import read_truth
from curator.kernels.names import plain
from curator.labels.banks import build_bank
from curator.labels.templates import template_set
from curator.labels.vocabulary import Vocabulary
from curator.storage import Storage

if TYPE_CHECKING:
    from torch import Tensor

    from curator.encoder import Encoder
    from curator.labels.weighing import Combine


@dataclass(frozen=True)
class Labelled:
    """Rows with exactly one true label of the vocabulary: ``images`` [N, D] and ``target`` int64 [N]."""

    images: Tensor
    target: Tensor
    vocabulary: Vocabulary
    encoder: Encoder
    cache_dir: str | None

    def bank(self, templates: Sequence[str]) -> Tensor:
        return build_bank(self.vocabulary, templates, self.encoder, cache_dir=self.cache_dir).vectors

    def cosine(self, templates: Sequence[str]) -> Tensor:
        return self.images @ self.bank(templates).T


def open_labelled(
    output: str, storage: Storage, *, vocabulary: str, truth: str, limit: int | None = 10_000, seed: int = 0
) -> Labelled:
    """A labelled sample of a run, with the run's encoder. ConfigError where nothing fits together."""
    import torch

    sample: Sample = labelled_sample(output, storage, read_truth(truth), limit=limit, seed=seed)
    labels = Vocabulary.load(vocabulary)
    codes = codes_of(labels, sample.truth)
    rows = [row for row, own in enumerate(codes) if len(set(own)) == 1]
    if not rows:
        raise ConfigError(f"{output}: no row has exactly one true label of {vocabulary}")
    config, encoder = run_encoder(output, storage)
    images, target = torch.from_numpy(sample.vectors[rows]), torch.tensor([codes[row][0] for row in rows])
    return Labelled(images, target, labels, encoder, config.encoder.cache_dir)


def temperature(labelled: Labelled, templates: str) -> dict[str, float]:
    """The fitted factor for the option ``scale`` of a head, and what it does to NLL and ECE."""
    cosine = labelled.cosine(template_set(templates))
    return fit_temperature(cosine, labelled.target, scale=labelled.encoder.logit_scale)


def group_sweep(labelled: Labelled, templates: str, groups: Mapping[str, Sequence[str]], first: str) -> dict[str, Any]:
    """The curve of a bias on the group ``first`` against all other labels, its best point and its area."""
    import torch

    if first not in groups:
        raise ConfigError(f"group {first!r} is not in the file of groups; there are {', '.join(groups)}")
    wanted = {plain(name) for name in groups[first]}
    inside = torch.tensor(
        [plain(label.id) in wanted or plain(label.name) in wanted for label in labelled.vocabulary.labels]
    )
    points = sweep_groups(labelled.cosine(template_set(templates)), labelled.target, inside)
    best = max(points, key=lambda each: each["harmonic"])
    return {"group_bias": {first: best["bias"]}, "best": best, "area": area_of(points), "points": points}


def thresholds(
    output: str, storage: Storage, *, vocabulary: str, templates: str, percentile: float, sample: int, seed: int = 0
) -> dict[str, Any]:
    """Thresholds for the head tags, from an unlabelled sample of a run."""
    labels, images, bank, encoder = _unlabelled(output, storage, vocabulary, templates, sample, seed)
    return tag_thresholds(
        images @ bank.T, labels, scale=encoder.logit_scale, bias=encoder.logit_bias, percentile=percentile
    )


def hub_offsets(
    output: str,
    storage: Storage,
    *,
    vocabulary: str,
    templates: str,
    sample: int,
    nearest: int = 256,
    weight: float = 0.5,
    seed: int = 0,
) -> dict[str, float]:
    """The option ``offsets`` of the head calibrated, which lowers hubs, from an unlabelled sample of a run."""
    from curator.kernels.tags import hub_bias

    labels, images, bank, _ = _unlabelled(output, storage, vocabulary, templates, sample, seed)
    biases = (weight * hub_bias(bank, images, nearest)).tolist()
    return dict(zip(labels.ids, biases, strict=True))


def _unlabelled(
    output: str, storage: Storage, vocabulary: str, templates: str, sample: int, seed: int
) -> tuple[Vocabulary, Tensor, Tensor, Encoder]:
    import torch

    from curator.tables.sample import sample_vectors

    vectors = sample_vectors(output, storage, sample, seed=seed)
    labels = Vocabulary.load(vocabulary)
    config, encoder = run_encoder(output, storage)
    bank = build_bank(labels, template_set(templates), encoder, cache_dir=config.encoder.cache_dir).vectors
    return labels, torch.from_numpy(vectors), bank, encoder


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
    config, encoder = run_encoder(output, storage)
    if reference is not None and Ledger(storage, reference).begun()["digests"]["encoder_digest"] != encoder.digest:
        raise ConfigError(f"{reference}: was made by another encoder than {output}; its mean says nothing here")
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


def search_prompts(
    labelled: Labelled,
    start: str,
    *,
    rounds: int,
    most: int,
    seed: int,
    complete: Callable[[str], str] | None = None,
) -> dict[str, Any]:
    """Templates found on one half of the sample, with their score on the other half, which the search never saw."""
    rows = list(range(len(labelled.target)))
    random.Random(seed).shuffle(rows)
    half = rows[: max(1, len(rows) // 2)], rows[max(1, len(rows) // 2) :]
    if not half[1]:
        raise ConfigError("the sample has one row; a search needs some to choose by and others to judge by")
    embed = lambda template: labelled.bank((template,))  # noqa: E731
    propose = None if complete is None else asking(complete)
    first = template_set(start)
    found: Found = search(
        first, embed, labelled.images[half[0]], labelled.target[half[0]],
        propose=propose, rounds=rounds, most=most, seed=seed,
    )  # fmt: skip
    held_out = [
        search(chosen, embed, labelled.images[half[1]], labelled.target[half[1]], rounds=0, seed=seed).score
        for chosen in (first, found.templates)
    ]
    return {
        "templates": list(found.templates),
        "score": found.score,
        "start_score": found.start_score,
        "held_out": held_out[1],
        "held_out_start": held_out[0],
        "rows": [len(half[0]), len(half[1])],
        "tried": found.tried,
        "history": [
            {"round": number, "score": value, "templates": list(kept)} for number, value, kept in found.history
        ],
    }
