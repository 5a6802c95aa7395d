"""Temperature, group bias, thresholds: on samples whose best values are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curator.errors import ConfigError
from curator.evaluation.calibrate import area_of, codes_of, fit_temperature, sweep_groups, tag_thresholds
from curator.labels.vocabulary import Vocabulary

ANIMALS = Vocabulary.load(["cat", "dog", {"name": "hot dog", "id": "food"}])


def test_temperature_is_that_which_made_the_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    cosine = torch.rand(20_000, 5, generator=generator)
    target = torch.multinomial(torch.softmax(8.0 * cosine, dim=1), 1, generator=generator).squeeze(1)
    found = fit_temperature(cosine, target, scale=100.0)
    assert found["scale"] == pytest.approx(8.0, rel=0.05)
    assert found["temperature"] == pytest.approx(100 / found["scale"])
    assert found["nll_after"] < found["nll_before"]
    assert found["ece_after"] < 0.02 < found["ece_before"]
    exact = torch.nn.functional.cross_entropy(found["scale"] * cosine.double(), target)
    for factor in (0.99, 1.01):
        assert torch.nn.functional.cross_entropy(factor * found["scale"] * cosine.double(), target) > exact


def test_the_sweep_goes_from_one_group_to_the_other() -> None:
    rng = np.random.default_rng(0)
    cosine = torch.tensor(rng.normal(0, 0.1, (200, 4))).float()
    target = torch.tensor(rng.integers(0, 4, 200))
    cosine[torch.arange(200), target] += 0.15
    inside = torch.tensor([True, True, False, False])
    cosine[:, inside] += 0.2  # what is seen more often scores higher, as calibrated stacking finds it
    points = sweep_groups(cosine, target, inside)
    assert points[0]["second"] == 0
    assert points[-1]["first"] == 0
    best = max(points, key=lambda each: each["harmonic"])
    assert best["bias"] == pytest.approx(0.2, abs=0.05)
    plain = min(points, key=lambda each: abs(each["bias"]))
    assert best["harmonic"] > plain["harmonic"]
    for point in points[::20]:
        decided = torch.where(inside, cosine - point["bias"], cosine).argmax(dim=1)
        hits = (decided == target).numpy()
        rows = inside[target].numpy()
        assert (point["first"], point["second"]) == pytest.approx((hits[rows].mean(), hits[~rows].mean()))
    assert 0.3 < area_of(points) < 1
    assert area_of([{"first": 0.0, "second": 1.0}, {"first": 1.0, "second": 1.0}, {"first": 1.0, "second": 0.0}]) == 1.0
    with pytest.raises(ConfigError, match="both groups need"):
        sweep_groups(cosine, target, torch.ones(4, dtype=torch.bool))


def test_thresholds_are_percentiles_of_the_probability() -> None:
    cosine = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (500, 3)))
    made = tag_thresholds(cosine, ANIMALS, scale=10.0, bias=-2.0, percentile=90)
    assert made["bias"] == -2.0
    for column, name in enumerate(ANIMALS.ids):
        p = torch.sigmoid(10 * cosine[:, column] - 2)
        assert float((p >= made["thresholds"][name]).double().mean()) == pytest.approx(0.1, abs=0.005)
    without = tag_thresholds(cosine, ANIMALS, scale=10.0, bias=None, percentile=90)
    share = (torch.sigmoid(10 * cosine + without["bias"]) >= 0.5).double().mean()
    assert float(share) == pytest.approx(0.1, abs=0.005)
    with pytest.raises(ConfigError, match="between 0 and 100"):
        tag_thresholds(cosine, ANIMALS, scale=10.0, bias=None, percentile=101)


def test_true_labels_are_found_by_id_and_name() -> None:
    assert codes_of(ANIMALS, [("Hot_Dog",), ("food", "cat"), ("cow",), ()]) == [[2], [2, 0], [], []]
    with pytest.raises(ConfigError, match="no true label of the sample is in the vocabulary"):
        codes_of(ANIMALS, [("cow",)])
