"""Descriptor sentences and random ones to the letter, and scores by description against loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.descriptions import (
    WAFFLE_LABELS,
    descriptor_sentence,
    discriminative,
    group_max,
    plain_means,
    waffle,
)

EUROSAT = [
    "annual crop land", "forest", "brushland or shrubland", "highway or road",
    "industrial buildings or commercial buildings", "pasture land", "permanent crop land",
    "residential buildings or homes or apartments", "river", "lake or sea",
]  # fmt: skip
DRAWN = {4222: "wheelb", 4114: "very", 1040: "deploy", 763: "coils", 3210: "scrub", 4039: "typica"}


@pytest.mark.parametrize(
    ("descriptor", "words", "letters"),
    [
        ("a large area of trees", "which is a large area of trees", "which is a large area of trees"),
        ("an engine", "which is an engine", "which is an engine"),
        ("antennae", "which has antennae", "which is antennae"),
        ("has wings", "which has wings", "which has wings"),
        ("have wings", "which have wings", "which has have wings"),
        ("typically blue", "which typically blue", "which typically blue"),
        ("candles", "which has candles", "which candles"),
        ("used for cutting", "which is used for cutting", "which is used for cutting"),
        ("straight rows", "which has straight rows", "which has straight rows"),
        ("", "which has ", "which has "),
    ],
)
def test_descriptors_become_sentences(descriptor: str, words: str, letters: str) -> None:
    assert descriptor_sentence(descriptor) == words
    assert descriptor_sentence(descriptor, whole_words=False) == letters


def test_waffle_draws_what_the_paper_s_code_draws() -> None:
    words = [DRAWN.get(row, f"word {row}") for row in range(4330)]
    drawn = waffle(EUROSAT, words, "-abcdefghilmnopqrstuvwy", pairs=15, seed=0)
    assert len(drawn) == 30
    assert [f"A photo of a forest, {descriptor_sentence(text, whole_words=False)}." for text in drawn[:4]] == [
        "A photo of a forest, which has wheelb very deploy.",
        "A photo of a forest, which has obt, iaq, mlw.",
        "A photo of a forest, which has coils scrub typica.",
        "A photo of a forest, which has e-f, nlc, agh.",
    ]


def test_waffle_is_seeded_and_needs_no_words() -> None:
    drawn = waffle(["cat", "dog"], [], "xyz", pairs=3, seed=1)
    assert drawn == waffle(["cat", "dog"], [], "xyz", pairs=3, seed=1)
    assert drawn != waffle(["cat", "dog"], [], "xyz", pairs=3, seed=2)
    assert len(drawn) == 3
    assert set("".join(drawn)) <= set("xyz, ")
    assert len(waffle(["a label"] * (WAFFLE_LABELS + 1), ["word"], "x", pairs=2, seed=0)) == 4


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_means_and_maxima_by_group_equal_loops(seed: int, images: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    owners = torch.cat([torch.arange(count), torch.randint(count, (5,), generator=generator)])
    owners = owners[torch.randperm(len(owners), generator=generator)]
    texts, x = torch.randn(len(owners), 8, generator=generator), torch.randn(images, 8, generator=generator)
    cosines = x @ texts.T
    means, maxima = x @ plain_means(texts, owners, count).T, group_max(cosines, owners, count)
    for row in range(images):
        for group in range(count):
            own = [float(cosines[row, column]) for column in range(len(owners)) if owners[column] == group]
            assert float(means[row, group]) == pytest.approx(sum(own) / len(own), abs=1e-4)
            assert float(maxima[row, group]) == pytest.approx(max(own))


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_discriminative_descriptions_equal_the_loop(seed: int, k: int, count: int, m: int) -> None:
    means = torch.randint(0, 4, (k, count), generator=torch.Generator().manual_seed(seed)) / 4  # ties
    for row, found in enumerate(discriminative(means, m)):
        leads = []
        for column in range(count):
            others = [float(means[other, column]) for other in range(k) if other != row]
            own = float(means[row, column])
            if all(own >= other for other in others):
                leads.append((-sum(own - other for other in others) / max(len(others), 1) if others else -own, column))
        assert found.tolist() == [column for _, column in sorted(leads)[:m]]
