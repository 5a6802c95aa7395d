"""CaSED as an annotator against a naive version on random banks, and what its parts do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curator.data import Labels
from curator.errors import ConfigError
from curator.free.cased import Cased
from curator.free.pos import open_filter
from curator.kernels.vectors import l2_normalize
from curator.storage import MemoryStorage
from tests.free.fakes import FakeBank, Speaker, embeddings, means, spec
from tests.kernels.test_candidates import naive_words

WORDS = ["dog", "dogs", "red", "balloon", "running", "the", "photo", "see", "cat's", "<b", "i>", "puppies", "http://x"]


def rows_of(labels: Labels) -> list[list[tuple[str, float]]]:
    return [
        [(labels.names[code], score) for code, score in zip(row[:count], scores[:count], strict=True)]
        for row, scores, count in zip(
            labels.indices.tolist(), labels.scores.tolist(), labels.counts.tolist(), strict=True
        )
    ]


def cased(bank: FakeBank, encoder: Speaker, **options: object) -> Cased:
    return Cased(spec("cased", **options), means(encoder), bank, open_filter("wordnet"))


def naive(image: Tensor, bank: FakeBank, encoder: Speaker, k: int, alpha: float, tau: float) -> dict[str, float]:
    """One image, one word at a time, in float64."""
    ranked = sorted(range(len(bank.captions)), key=lambda i: (-float(image @ bank.rows[i]), i))[:k]
    kept: list[int] = []
    seen: set[int] = set()
    for start in ranked:
        if start not in seen:
            kept.append(start)
        waiting = [start]
        while waiting:
            at = waiting.pop()
            if at not in seen:
                seen.add(at)
                waiting += [n for n in ranked if float(bank.rows[at] @ bank.rows[n]) > 0.94]
    mean = bank.rows[kept].double().mean(0)
    centroid = mean / mean.norm()
    frequent = naive_words([bank.captions[i] for i in kept])
    words = sorted(set(open_filter("wordnet")([frequent])[0])) or ["object"]
    scores = []
    for query in (image.double(), centroid):
        logits = np.array([encoder.logit_scale * float(query @ encoder.vector(word).double()) / tau for word in words])
        powers = np.exp(logits - logits.max())
        scores.append(powers / powers.sum())
    return dict(zip(words, (alpha * scores[0] + (1 - alpha) * scores[1]).tolist(), strict=True))


@settings(deadline=None, max_examples=25)
@given(
    captions=st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
    k=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.5, 0.7, 1.0]),
)
def test_equals_a_naive_version_on_random_banks(captions: list[str], seed: int, k: int, alpha: float) -> None:
    encoder = Speaker(dim=4)
    bank = FakeBank(captions, torch.stack([encoder.vector(text) for text in captions]))
    images = l2_normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)))
    found = cased(bank, encoder, captions=k, alpha=alpha, tau=2.0, top_k=3)(embeddings(images))["free"]
    assert isinstance(found, Labels)
    for image, row in zip(images, rows_of(found), strict=True):
        expected = naive(image, bank, encoder, k, alpha, 2.0)
        best = sorted(expected.values(), reverse=True)[:3]
        assert [score for _, score in row] == pytest.approx(best, abs=1e-5)
        assert {word: expected[word] for word, _ in row} == pytest.approx(dict(row), abs=1e-5)


def demo_bank() -> tuple[Speaker, FakeBank]:
    captions = ["a red dog in the park", "the dog is red", "a dog, red", "a boat on the sea", "two boats and a sea"]
    encoder = Speaker(dim=64)
    rows = torch.stack([encoder.vector(text) for text in captions])
    return encoder, FakeBank(captions, rows)


def test_evidence_are_the_captions_that_were_read() -> None:
    encoder, bank = demo_bank()
    both = l2_normalize((bank.rows[0] + bank.rows[1])[None])
    found = cased(bank, encoder, captions=2, evidence=True)(embeddings(both))
    assert sorted(found["free_captions"][0]) == ["a red dog in the park", "the dog is red"]
    assert isinstance(found["free"], Labels)
    assert {word for word, _ in rows_of(found["free"])[0]} == {"dog", "red"}


def test_words_are_encoded_once_in_a_run() -> None:
    encoder, bank = demo_bank()
    annotator = cased(bank, encoder, captions=3)
    annotator(embeddings(bank.rows[:3]))
    asked = len(encoder.asked)
    annotator(embeddings(bank.rows[:3]))
    assert len(encoder.asked) == asked
    assert bank.searches == 2


def test_many_images_give_what_few_give() -> None:
    encoder, bank = demo_bank()
    images = l2_normalize(torch.randn(600, 64, generator=torch.Generator().manual_seed(0)))
    annotator = cased(bank, encoder, captions=3)
    whole = annotator(embeddings(images))["free"]
    assert isinstance(whole, Labels)
    parts: list[list[tuple[str, float]]] = []
    for start in range(0, 600, 50):
        part = annotator(embeddings(images[start : start + 50]))["free"]
        assert isinstance(part, Labels)
        parts += rows_of(part)
    assert [[word for word, _ in row] for row in rows_of(whole)] == [[word for word, _ in row] for row in parts]


def test_no_row_gives_no_label() -> None:
    encoder, bank = demo_bank()
    found = cased(bank, encoder)(embeddings(torch.empty(0, 64)))["free"]
    assert isinstance(found, Labels)
    assert found.indices.shape[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2}, "alpha is 2"),
        ({"captions": 0}, "captions is 0"),
        ({"pos": "nltk"}, "pos is 'nltk'; it must be one of wordnet"),
        ({"template": "a photo"}, "template is 'a photo'; it must hold {} once"),
        ({"evidence": 1}, "evidence is 1"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cased.read(spec("cased", **options), MemoryStorage())


def test_a_tagger_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match="python -m spacy download en_core_web_sm"):
        open_filter("spacy:en_core_web_sm")
    with pytest.raises(ConfigError, match=r"pip install 'curator\[flair\]'"):
        open_filter("flair:flair/pos-english-fast")


def test_the_spec_travels_to_workers() -> None:
    assert pickle.loads(pickle.dumps(spec("cased", alpha=0.5))) == spec("cased", alpha=0.5)
