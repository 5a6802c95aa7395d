"""Owns what is fitted on a small labelled sample: temperature, group biases, thresholds; and hub biases without labels.

Works on cosines; knows no file and no encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.errors import ConfigError
from curator.kernels.metrics import calibration_error, harmonic
from curator.kernels.names import plain
from curator.labels.heads.by_label import label_rows

if TYPE_CHECKING:
    from torch import Tensor

    from curator.labels.vocabulary import Vocabulary


def codes_of(vocabulary: Vocabulary, truth: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """The positions in the vocabulary of every row's true labels, by id or name; what it lacks is left out."""
    places = label_rows(vocabulary)
    found = [[places[plain(label)] for label in labels if plain(label) in places] for labels in truth]
    if not any(found):
        raise ConfigError("no true label of the sample is in the vocabulary; check --truth and --vocabulary")
    return found


def fit_temperature(cosine: Tensor, target: Tensor, *, scale: float) -> dict[str, float]:
    """The factor before the softmax that makes ``target`` int64 [N] likeliest, from cosines [N, C]. Guo et al. 2017.

    The likelihood has one optimum in the factor, found by golden section on its logarithm between 0.1 and 10,000.
    ``scale`` is the encoder's, for comparison. Returns scale, temperature (= encoder's / fitted), and NLL and ECE of
    both.
    """
    import torch

    wanted = cosine.double()

    def likelihood(logarithm: float) -> float:
        return float(torch.nn.functional.cross_entropy(wanted * np.exp(logarithm), target))

    low, high, golden = np.log(0.1), np.log(1e4), (np.sqrt(5) - 1) / 2
    while high - low > 1e-5:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if likelihood(left) <= likelihood(right) else (left, high)
    fitted = float(np.exp((low + high) / 2))
    return {
        "scale": fitted,
        "temperature": scale / fitted,
        "rows": float(len(target)),
        "nll_before": likelihood(float(np.log(scale))),
        "nll_after": likelihood(float(np.log(fitted))),
        "ece_before": _ece(wanted, target, scale),
        "ece_after": _ece(wanted, target, fitted),
    }


def _ece(cosine: Tensor, target: Tensor, scale: float) -> float:
    import torch

    best = torch.softmax(cosine * scale, dim=1).max(dim=1)
    return calibration_error(best.values.numpy(), (best.indices == target).numpy())


def sweep_groups(cosine: Tensor, target: Tensor, inside: Tensor, *, steps: int = 101) -> list[dict[str, float]]:
    """Accuracy of two groups of labels as a bias is taken from the cosines of the first. Chao et al. 2016, section 4.

    ``inside`` bool [C] marks the first group. Biases go evenly from where the first group wins every row to where the
    second does. Each point: ``bias``, ``first`` and ``second`` (accuracy of the rows whose true label is there) and
    their ``harmonic`` mean.
    """
    import torch

    own, other = cosine[:, inside], cosine[:, ~inside]
    rows = inside[target]
    if not own.shape[1] or not other.shape[1] or not bool(rows.any()) or bool(rows.all()):
        raise ConfigError("both groups need labels, and rows of the sample that they are true of")
    gap = own.amax(dim=1) - other.amax(dim=1)
    margin = 1e-6 + 0.01 * float(gap.max() - gap.min())
    points = []
    for bias in np.linspace(float(gap.min()) - margin, float(gap.max()) + margin, steps).tolist():
        best = torch.where(inside, cosine - bias, cosine).argmax(dim=1)
        first, second = (float((best == target)[which].double().mean()) for which in (rows, ~rows))
        points.append({"bias": bias, "first": first, "second": second, "harmonic": harmonic(first, second)})
    return points


def area_of(points: Sequence[dict[str, float]]) -> float:
    """AUSUC: the area under the second group's accuracy over the first's. Chao et al. 2016, section 4.2."""
    ranked = sorted(points, key=lambda each: (each["first"], -each["second"]))
    return sum(
        (right["first"] - left["first"]) * (left["second"] + right["second"]) / 2 for left, right in pairwise(ranked)
    )


def tag_thresholds(
    cosine: Tensor, vocabulary: Vocabulary, *, scale: float, bias: float | None, percentile: float
) -> dict[str, Any]:
    """A threshold by label, for the head tags: the ``percentile`` (0 to 100) of its probability over a sample [N, C].

    An encoder without a bias gets one that puts the probability 0.5 at that percentile of all cosines.
    """
    import torch

    share = percentile / 100
    if not 0 <= share <= 1:
        raise ConfigError(f"percentile {percentile:g} is not between 0 and 100")
    limits = np.quantile(cosine.double().numpy(), share, axis=0)
    if bias is None:
        bias = -scale * float(np.quantile(cosine.double().numpy(), share))
    values = torch.sigmoid(torch.from_numpy(limits) * scale + bias).tolist()
    return {"bias": bias, "percentile": percentile, "thresholds": dict(zip(vocabulary.ids, values, strict=True))}
