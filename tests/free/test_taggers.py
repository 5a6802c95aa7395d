"""Taggers with weights as filters by part of speech: a spaCy pipeline made on the spot, and a flair of paper."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from curator.free.pos import open_filter

TAGS = {"dog": "NN", "red": "JJ", "running": "VBG", "runs": "VBZ", "quickly": "RB"}
IMAGES = [["red", "dog", "runs", "quickly"], [], ["dog", "running", "dog"]]
KEPT = [["red", "dog"], [], ["dog", "running", "dog"]]


def test_spacy_reads_each_images_words(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    language = spacy.blank("en")
    ruler = language.add_pipe("attribute_ruler")
    for word, tag in TAGS.items():
        ruler.add(patterns=[[{"ORTH": word}]], attrs={"TAG": tag})
    language.to_disk(tmp_path / "model")
    assert open_filter(f"spacy:{tmp_path / 'model'}")(IMAGES) == KEPT


class Sentence:
    def __init__(self, text: str, *, use_tokenizer: bool) -> None:
        assert not use_tokenizer
        self.tokens = [SimpleNamespace(text=word, tag="") for word in text.split()]

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Any:
        return iter(self.tokens)


class SequenceTagger:
    @staticmethod
    def load(model: str) -> SequenceTagger:
        assert model == "flair/pos-english-fast"
        return SequenceTagger()

    def predict(self, sentences: list[Sentence]) -> None:
        assert all(len(sentence) for sentence in sentences)
        for sentence in sentences:
            for token in sentence:
                token.tag = TAGS[token.text]


def test_flair_reads_each_images_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("flair", {}), ("flair.data", {"Sentence": Sentence}),
                          ("flair.models", {"SequenceTagger": SequenceTagger})):  # fmt: skip
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    assert open_filter("flair:flair/pos-english-fast")(IMAGES) == KEPT
