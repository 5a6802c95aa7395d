"""CaSED's strings and scores: the worked example, the recorded numbers, and a naive version."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from curator.kernels.candidates import (
    NO_CANDIDATE,
    candidate_scores,
    candidates,
    centroids,
    distinct_captions,
    repeated,
    words_of,
)
from curator.kernels.plurals import singular

WORKED_EXAMPLE = [
    "<PERSON> holding a Golden-Retriever dog, see http://x.y/z.jpg",
    "Photo of two golden retrievers (puppies) in the park.",
    "Golden retriever puppy - stock_photo no. 12345",
    "Dogs: best buses & glasses of the year!",
]
_STOP = "image photo picture thumbnail logo symbol clipart portrait painting illustration icon profile"


def unit(generator: np.random.Generator, *shape: int) -> Tensor:
    x = generator.standard_normal(shape)
    return torch.from_numpy(x / np.linalg.norm(x, axis=-1, keepdims=True)).float()


def naive_words(captions: list[str]) -> list[str]:
    """Filters 1 to 11 as regular expressions over one text, step by step as published."""
    text = " ".join(captions)
    for pattern in (r"<[^>]+>", r"http\S+", r"[^\w\s\-\.\'\&]", r"\.\w+"):
        text = re.sub(pattern, "", text)
    text = re.sub(r"[_\-]", " ", text)
    text = " ".join(word for word in text.split() if len(word) >= 3)
    text = re.sub(r"[^a-zA-Z\s]", "", text).lower()
    words = [
        singular(word)
        if word.endswith("s") and word[-2:] not in ("ss", "us", "is") and word[-3:] not in ("ies", "oes")
        else word
        for word in text.split()
    ]
    text = re.sub(r"\b(?:{})\b".format(_STOP.replace(" ", "|")), "", " ".join(words), flags=re.IGNORECASE)
    words = text.split()
    least = min(2, max(map(words.count, words), default=0))
    return [word for word in words if words.count(word) >= least]


def test_the_worked_example_of_the_authors_code() -> None:
    found = repeated(words_of(" ".join(WORKED_EXAMPLE), singular))
    assert " ".join(found) == "golden retriever dog golden retriever the golden retriever dog the"
    assert candidates(found) == ["dog", "golden", "retriever", "the"]


def test_nothing_left_is_an_object() -> None:
    assert candidates(repeated(words_of("<b> http://x 12 a.jpg photo", singular))) == [NO_CANDIDATE]


@given(st.lists(st.text(alphabet="aAbs _-.'&<>htp:/éß1\n\u3000", max_size=40), max_size=4))
def test_filters_equal_the_published_steps(captions: list[str]) -> None:
    assert repeated(words_of(" ".join(captions), singular)) == naive_words(captions)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("U.S.A. tour", ["tour"]),  # .S.A goes as if it were a file's extension, and what is left is short
        ("x.jpeg_image no. 12 glass", ["no", "glass"]),
        ("Puppies and potatoes at the bus", ["puppies", "and", "potatoes", "the", "bus"]),
        ("dog's <b>bone</b>", ["dog", "bone"]),
    ],
)
def test_what_the_filters_do_to_odd_words(text: str, words: list[str]) -> None:
    assert words_of(text, singular) == words


def test_recorded_scores() -> None:
    generator = np.random.default_rng(0)
    images = unit(generator, 12, 16)
    unit(generator, 5, 4, 16)
    words, centroid = unit(generator, 6, 16), unit(generator, 2, 16)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).bool()
    expected = torch.tensor(
        [
            [0.2999999864284702, 0.6998276874149718, 0.00017232615655795642, 0, 0, 0],
            [0, 0, 0, 0.6999999998191574, 1.8084357340225137e-10, 0.29999999999999905],
        ]
    )
    found = candidate_scores(images[:2], centroid, words, mask, scale=100.0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_near_duplicates_equal_a_walk_over_the_graph(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    base = unit(generator, 3, 4)[generator.integers(0, 3, (2, count))]
    noise = torch.from_numpy(generator.standard_normal((2, count, 4))).float()
    vectors = torch.nn.functional.normalize(base + 0.2 * noise, dim=2)
    valid = torch.from_numpy(np.arange(count) < generator.integers(0, count + 1, (2, 1)))
    found = distinct_captions(vectors, valid)
    for row in range(2):
        near = (vectors[row] @ vectors[row].T > 0.94).numpy()
        seen: set[int] = set()
        kept = []
        for start in range(int(valid[row].sum())):
            if start not in seen:
                kept.append(start)
                waiting = [start]
                while waiting:
                    at = waiting.pop()
                    if at not in seen:
                        seen.add(at)
                        waiting += [n for n in np.flatnonzero(near[at]).tolist() if n not in seen and valid[row, n]]
        assert torch.nonzero(found[row]).flatten().tolist() == kept


def test_a_centroid_is_the_direction_of_the_mean_and_zero_where_nothing_is_kept() -> None:
    vectors = torch.eye(4)[None].expand(2, 4, 4)
    kept = torch.tensor([[True, True, False, False], [False] * 4])
    expected = torch.tensor([[0.5**0.5, 0.5**0.5, 0, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(centroids(vectors, kept), expected)
