"""Owns how much each prompt template counts: for a whole corpus (ZPE) or for every image by itself (AutoCLIP).

Knows cosines and embeddings, not texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

_HALVINGS = 60  # of the bracket of the step size: far below the resolution of float32
_MAX_STEP = 1e7


def zpe_scores(
    images: Tensor, templates: Iterable[Tensor], *, scale: float, reference: Tensor | None = None, rows: int = 4096
) -> Tensor:
    """Scores float32 [T] of prompt templates: the mean over images of the largest bias-corrected logit.

    ``images`` [N, D] is a sample of the corpus, ``reference`` [M, D] one of generic images such as the encoder was
    trained on (None: the corpus stands in for it); ``templates`` gives T class embeddings [C, D], one at a time. With
    L[n, p, c] = scale * cos: s_p = mean_n max_c (L - 0.5 * (mean_m L_reference + mean_n L)). Source: ZPE (Allingham et
    al. 2023, "A Simple Zero-shot Prompt Weighting Technique" to Improve Prompt
    Ensembling in Text-Image Models"). Means of logits are logits
    of mean embeddings, so N x C logits of one template, ``rows`` of them at a time, are all that is held.

    Raises ValueError where there is no image or no template.
    """
    if not len(images) or (reference is not None and not len(reference)):
        raise ValueError("prompt weights need at least one image embedding")
    images = images.float()
    center = images.mean(dim=0)
    if reference is not None:
        center = (center + reference.float().mean(dim=0)) / 2
    scores = []
    for classes in templates:
        weights = classes.float().T * scale
        bias = center @ weights
        total = torch.zeros((), dtype=torch.float64, device=images.device)
        for start in range(0, len(images), rows):
            total += (images[start : start + rows] @ weights - bias).amax(dim=1).sum(dtype=torch.float64)
        scores.append((total / len(images)).float())
    if not scores:
        raise ValueError("prompt weights need at least one template")
    return torch.stack(scores)


def zpe_select(scores: Tensor, threshold: float) -> Tensor:
    """Which templates to keep, bool [T]: (s_p - median) / MAD > ``threshold`` (ZPE's prompt selection).

    MAD is the unscaled median of |s - median|. Where it is zero (more than half of the scores are equal) every
    template above the median is kept, and all of them where none is above.
    """
    # torch.median takes the lower of two middle values; the formula wants their mean
    middle = scores.float().quantile(0.5)
    deviation = (scores - middle).abs().quantile(0.5)
    kept: Tensor = (scores - middle).gt(threshold * deviation)
    if not bool(kept.any()) and float(deviation) == 0:
        return torch.ones_like(kept)
    return kept


def weighted_classes(templates: Tensor, weights: Tensor) -> Tensor:
    """Class vectors [C, D] of ``templates`` [T, C, D]: sum_p w_p t_pc / sum_p w_p, not renormalised.

    Their products with an image are the weighted means of its logits, which is ZPE's final score up to
    the factor sum_p w_p / T that no decision depends on.
    """
    return torch.einsum("t,tcd->cd", weights.float() / weights.float().sum(), templates.float())


def autoclip(cosines: Tensor, *, beta: float = 0.85) -> tuple[Tensor, Tensor]:
    """Scores [B, C] and template weights [B, T], float32, of ``cosines`` [B, C, T]: AutoCLIP for each image by itself.

    From uniform weights, one step along the gradient of log sum_c exp(sum_t w_t s_ct) with respect to the logits rho
    of w = softmax(rho): g_t = w_t (sum_c q_c s_ct - sum_t' w_t' sum_c q_c s_ct'), q = softmax_c. The step is as long as
    makes the entropy of the new weights beta * log2 T bits; ``beta`` 1 keeps them uniform. No temperature: cosines as
    they are. Source: AutoCLIP (Metzen et al. 2023, "Auto-tuning
    Zero-Shot Classifiers for Vision-Language Models").
    """
    cosines = cosines.float()
    count = cosines.shape[2]
    q = torch.softmax(cosines.mean(dim=2), dim=1)
    pulled = torch.bmm(q.unsqueeze(1), cosines).squeeze(1)  # [B, T]
    weights = entropy_weights((pulled - pulled.mean(dim=1, keepdim=True)) / count, beta)
    return torch.bmm(cosines, weights.unsqueeze(2)).squeeze(2), weights


def entropy_weights(gradient: Tensor, beta: float) -> Tensor:
    """softmax(a * ``gradient`` [B, T]) float32, a >= 0 per row such that the entropy is beta * log2 T bits.

    Entropy falls as a grows, so a is found by bisection, all rows at once. A row whose largest entries are so nearly
    equal that no a up to 1e7 (for entries of size 1) gets there keeps the weights of that a: of entries that are all
    equal, the uniform ones.
    """
    target = beta * math.log(gradient.shape[1])
    slope = gradient.double()
    slope = slope - slope.amax(dim=1, keepdim=True)
    slope = slope / slope.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)  # a is then of order 1 to 1e3
    low = torch.zeros(len(slope), 1, dtype=slope.dtype, device=slope.device)
    high = torch.full_like(low, _MAX_STEP)
    if beta < 1.0:
        for _ in range(_HALVINGS):
            # Geometric where the bracket is wide: the answer is small against 1e7.
            middle = torch.where(high > 4 * low + 4, (low + 1).mul(high + 1).sqrt() - 1, (low + high) / 2)
            above = _entropy(middle * slope) > target
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        low = (low + high) / 2
    return torch.softmax(low * slope, dim=1).float()


def _entropy(logits: Tensor) -> Tensor:
    """The entropy in nats of softmax(logits [B, T]), as [B, 1]."""
    log_p = torch.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p.clamp_min(-1e3)).sum(dim=1, keepdim=True)
