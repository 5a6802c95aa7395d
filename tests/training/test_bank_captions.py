"""The texts of the embedded bank: names, lists and kinds of things, and definitions of nouns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from curator.training.bank_captions import of_nouns, of_thing


def test_a_thing_by_its_names_keywords_and_kind() -> None:
    rows = list(of_thing(["red apple", "apple"], ["fruit", "mac", "diet", "plant", "pie"], "food fruit"))
    others = ["fruit", "mac", "diet", "plant", "food fruit"]
    assert rows == ["red apple", "apple", *(f"red apple, {other}" for other in others)]
    assert list(of_thing(["apple"], [], "")) == ["apple"]


def test_nouns_by_definition_and_kind() -> None:
    nouns: Any = SimpleNamespace(
        frequent=lambda count: ["dog", "entity"][:count],
        senses=lambda noun: [SimpleNamespace(gloss=f"what a {noun} is")],
        hypernyms=lambda noun, depth: ["canine"] if noun == "dog" else [],
    )
    assert list(of_nouns(nouns, 2)) == ["dog: what a dog is", "dog, canine", "entity: what a entity is"]
