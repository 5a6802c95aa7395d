"""The decoder that ships with the package, on the embeddings of the encoder that ships with it."""

from __future__ import annotations

import pytest
import torch

from curator.data import Labels
from curator.encoder import Encoder
from curator.free.novic.annotator import Novic
from curator.free.novic.weights import EMBEDDED, Trained, from_bytes
from tests.free.fakes import embeddings, means, spec


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.open("embedded", precision="float32")


@pytest.fixture(scope="module")
def trained() -> Trained:
    return from_bytes(EMBEDDED.read_bytes(), "embedded")


def test_it_is_small_and_belongs_to_the_embedded_encoder(encoder: Encoder, trained: Trained) -> None:
    trained.require(encoder.digest, "embedded")
    assert EMBEDDED.stat().st_size < 6_000_000
    assert 1e6 < sum(weight.numel() for weight in trained.model.parameters()) < 3e6
    assert 2000 <= len(trained.nouns) <= 5000
    assert (EMBEDDED.parent / "MODEL_CARD.md").is_file()


def test_its_nouns_are_spelled_as_the_encoder_spells_them(encoder: Encoder, trained: Trained) -> None:
    for noun, ids, spelled in zip(trained.nouns, encoder.spell(trained.nouns), trained.spelled, strict=True):
        assert trained.compact(ids) == spelled
        plain = noun.lower().replace("\u2019", "'").replace(" ", "")  # as the tokenizer cleans texts
        assert trained.text(spelled).replace(" ", "") == plain


def test_it_reads_nouns_back_from_sentences_about_them(encoder: Encoder, trained: Trained) -> None:
    nouns = trained.nouns[::20]
    vectors = encoder.embed_text([f"a photo of the {noun}." for noun in nouns])
    opened = Novic.open(Novic.read(spec("novic"), means(encoder).storage), means(encoder))
    found = opened(embeddings(vectors))["free"]
    assert isinstance(found, Labels)
    first = [found.names[row[0]] for row in found.indices.tolist()]
    right = torch.tensor([name == noun for name, noun in zip(first, nouns, strict=True)])
    assert right.float().mean() > 0.75
