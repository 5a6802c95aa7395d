"""What annotators share: the cache of text vectors, specs that are refused with a way out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.annotators import AnnotatorSpec, TextVectors, method_of
from curator.errors import ConfigError


class Counting:
    """An encoder of three numbers a text, which remembers what it was asked for."""

    digest, precision, dim = "0" * 64, "float32", 3
    logit_scale, logit_bias, device = 100.0, None, torch.device("cpu")

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        self.asked.append(list(texts))
        return torch.stack([torch.tensor([float(ord(text[0])), len(text), 1.0]) for text in texts])


WORDS = st.text(alphabet="abcdefgh", min_size=1, max_size=2)


@settings(deadline=None)
@given(batches=st.lists(st.lists(WORDS, max_size=20), max_size=12), slots=st.integers(1, 30))
def test_vectors_are_those_of_the_encoder_whatever_is_kept(batches: list[list[str]], slots: int) -> None:
    encoder = Counting()
    texts = TextVectors(encoder, limit_bytes=slots * 4 * encoder.dim)
    for batch in batches:
        found = texts(batch)
        assert found.shape == (len(batch), 3)
        if batch:
            assert torch.equal(found, Counting().embed_text(batch))
    asked = [text for call in encoder.asked for text in call]
    assert texts.misses == len(asked)
    assert texts.hits + texts.misses == sum(len(set(batch)) for batch in batches)
    if len({text for batch in batches for text in batch}) <= slots:
        assert len(asked) == len(set(asked)), "what fits is encoded once"


def test_the_least_recently_used_leave() -> None:
    encoder = Counting()
    texts = TextVectors(encoder, limit_bytes=2 * 4 * encoder.dim)
    for text in ("a", "b", "a", "c", "a", "b"):
        texts([text])
    assert encoder.asked == [["a"], ["b"], ["c"], ["b"]]


def test_unknown_methods_and_names_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"free 'words': method 'casd' is not known; did you mean 'cased'\?"):
        method_of(AnnotatorSpec("words", "casd"), {"cased": object}, "free")  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="snake_case"):
        AnnotatorSpec("Free Labels", "cased")
