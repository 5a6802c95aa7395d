"""The bank in the package: made for the encoder in the package, whole, small, and about something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from curator.captions import CaptionBank
from curator.captions.facts import EMBEDDED_DIRECTORY, content_digest, text_key
from curator.encoder import Encoder
from curator.storage import open_storage


def test_it_is_what_it_says_and_finds_what_is_asked_for(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    encoder = Encoder.open("embedded", precision="float32")
    bank = CaptionBank.open("embedded", open_storage(), tmp_path, encoder=encoder)
    texts = bank.texts(np.arange(len(bank)))
    keys = b"".join(map(text_key, texts))
    assert bank.digest == content_digest(encoder.digest, "float32", encoder.dim, keys)
    assert len(set(texts)) == len(bank) > 20_000
    rows = np.arange(0, len(bank), 997)
    torch.testing.assert_close(bank.vectors(rows), encoder.embed_text([texts[row] for row in rows]), atol=2e-3, rtol=0)
    _, found = bank.search(encoder.embed_text(["dog face", "a slice of pizza"]), 3)
    for near, word in zip(found, ("dog", "pizza"), strict=True):
        assert word in bank.texts(near)[0]
    assert not list(tmp_path.rglob("*.npy")), "it is small: no rounded copy is kept of it"


def test_it_is_light_and_its_licences_are_there() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED_DIRECTORY.iterdir()) < 15e6
    assert "WordNet 3.0 Copyright 2006" in (EMBEDDED_DIRECTORY / "LICENSES.md").read_text()
