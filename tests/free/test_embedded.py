"""CaSED over the bank that ships, by the encoder that ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from curator.annotators import Means, TextVectors
from curator.data import Labels
from curator.encoder import Encoder
from curator.errors import ConfigError
from curator.free.cased import Cased
from curator.storage import open_storage
from tests.free.fakes import Speaker, embeddings, means, spec
from tests.free.test_cased import rows_of


def test_words_for_what_captions_say() -> None:
    encoder = Encoder.open(precision="float32")
    torch.set_num_threads(1)
    storage = open_storage()
    read = Cased.read(spec("cased", evidence=True), storage)
    assert len(read.options["bank_digest"]) == 64
    annotator = Cased.open(read, Means(encoder, TextVectors(encoder), storage, None, 1))
    found = annotator(embeddings(encoder.embed_text(["a bicycle", "a photo of a giraffe"])))
    labels = found["free"]
    assert isinstance(labels, Labels)
    assert [row[0][0] for row in rows_of(labels)] == ["bicycle", "giraffe"]
    assert "bicycle" in found["free_captions"][0][0]


def test_a_bank_that_was_replaced_is_refused() -> None:
    encoder = Encoder.open(precision="float32")
    read = Cased.read(spec("cased"), open_storage())
    other = replace(read, options={**read.options, "bank_digest": "0" * 64})
    with pytest.raises(ConfigError, match="bank changed since the run began; begin a new run"):
        Cased.open(other, Means(encoder, TextVectors(encoder), open_storage(), None, 1))


def test_a_bank_of_another_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="was made by the encoder embedded"):
        Cased.open(Cased.read(spec("cased"), open_storage()), means(Speaker()))
