"""Unit vectors and class means against naive loops, and the published golden values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curator.kernels.vectors import class_means, l2_normalize


def naive_class_means(prompts: Tensor, owners: list[int], classes: int) -> list[list[float]]:
    result = []
    for c in range(classes):
        own = [prompts[i].tolist() for i, owner in enumerate(owners) if owner == c]
        mean = [sum(values) / len(own) for values in zip(*own, strict=True)]
        norm = math.sqrt(sum(value * value for value in mean))
        result.append([value / norm for value in mean])
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_have_unit_length_in_float32_whatever_the_input(dtype: torch.dtype) -> None:
    x = (torch.randn(7, 33, generator=torch.Generator().manual_seed(0)) * 50).to(dtype)
    unit = l2_normalize(x)
    assert unit.dtype == torch.float32
    assert torch.allclose(unit.norm(dim=1), torch.ones(7), atol=1e-6)
    assert torch.allclose(unit * x.float().norm(dim=1, keepdim=True), x.float(), rtol=1e-5)


def test_large_half_precision_rows_do_not_overflow() -> None:
    assert torch.allclose(l2_normalize(torch.full((1, 4), 60_000.0, dtype=torch.float16)), torch.full((1, 4), 0.5))


def test_a_zero_row_stays_zero() -> None:
    assert torch.equal(l2_normalize(torch.zeros(1, 4)), torch.zeros(1, 4))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6), st.integers(0, 20), st.integers(0, 2**31), st.sampled_from(["float32", "float16", "bfloat16"])
)
def test_class_means_equal_a_naive_loop(classes: int, extra: int, seed: int, dtype: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    owners = torch.cat([torch.arange(classes), torch.randint(0, classes, (extra,), generator=generator)])
    owners = owners[torch.randperm(len(owners), generator=generator)]
    prompts = l2_normalize(torch.randn(len(owners), 8, generator=generator)).to(getattr(torch, dtype))
    expected = torch.tensor(naive_class_means(prompts.float(), owners.tolist(), classes))
    assert torch.allclose(class_means(prompts, owners, classes), expected, atol=1e-4)


def test_a_repeated_prompt_counts_twice_and_order_does_not_count() -> None:
    prompts = l2_normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    once = class_means(prompts[[0, 1, 1]], torch.tensor([0, 0, 0]), 1)
    assert torch.allclose(once, l2_normalize(prompts[:1] + 2 * prompts[1:2]), atol=1e-6)
    assert torch.allclose(once, class_means(prompts[[1, 0, 1]], torch.tensor([0, 0, 0]), 1), atol=1e-6)


def test_golden_logits() -> None:
    # Seeded inputs and values as computed by open_clip's build_zero_shot_classifier over a table of text features.
    rng = np.random.default_rng(0)
    images = rng.standard_normal((12, 16))
    texts = rng.standard_normal((5, 4, 16))
    prompts = l2_normalize(torch.from_numpy(texts).reshape(20, 16))
    classes = class_means(prompts, torch.arange(5).repeat_interleave(4), 5)
    logits = 100 * l2_normalize(torch.from_numpy(images)) @ classes.T
    golden = [26.768954, 21.185463, 9.374083, -21.021056, -26.829767]
    assert logits[0].tolist() == pytest.approx(golden, abs=2e-4)
    assert logits.argmax(dim=1).tolist() == [0, 1, 3, 4, 2, 3, 1, 2, 3, 1, 4, 4]


@pytest.mark.parametrize(
    ("vectors", "owners", "classes", "message"),
    [
        (torch.eye(2), [0, 0], 2, "class 1 has no prompts"),
        (torch.eye(2), [0, 3], 2, "class index 3 with only 2 classes"),
        (torch.eye(2), [0], 1, "class indices for 2 prompt vectors"),
        (torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), [0, 0], 1, "class 0 cancel out"),
    ],
)
def test_degenerate_classes_are_named(vectors: Tensor, owners: list[int], classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_means(vectors, torch.tensor(owners), classes)
