"""CatLIP's classes against those that NLTK's own WordNet reader gave, and a naive multi-hot target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curator.errors import ConfigError
from curator.kernels.nouns import NounClasses, unwrapped
from curator.scores.catlip import NounFinder
from curator.storage import MemoryStorage
from tests.scores.opening import images, open_score, rows_of

# Recorded with nltk 3.10 (word_tokenize, WordNetCorpusReader over WordNet 3.0, its lemmatizer) by the published steps.
RECORDED: list[tuple[str, list[str]]] = json.loads(Path(__file__).with_name("catlip.golden.json").read_text())


@pytest.fixture(scope="module")
def find() -> NounFinder:
    return NounFinder()


def test_classes_are_those_recorded_from_nltk(find: NounFinder) -> None:
    assert len(RECORDED) > 150
    assert sum(len(classes) for _, classes in RECORDED) > 200
    for caption, classes in RECORDED:
        assert list(find(caption)) == classes, caption


def test_the_published_example_as_a_multi_hot_target(find: NounFinder) -> None:
    vocabulary = ["n5928118", "n1", "n2084071", "n4"]
    found = find("An image of black dog.")
    assert [int(key in found) for key in vocabulary] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("the dog's dinner", ["dog", "dinner"]),
        ("auto", []),  # its first sense is headed by car
        ("golden retriever", ["retriever"]),  # words of several parts never match
        ("Two dogs. A dog!", ["two", "dog"]),
        ("🐕 dog 🐕", ["dog"]),
        ("שלום كلب", []),
        ("geese", ["goose"]),
        ("a%20red+house<br>", ["red", "house"]),
        ("", []),
    ],
)
def test_hand_made_captions(find: NounFinder, caption: str, nouns: list[str]) -> None:
    assert list(find(caption).values()) == nouns


def test_a_caption_of_a_megabyte(find: NounFinder) -> None:
    assert list(find("x" * 500_000 + " dog, " * 100_000).values()) == ["dog"]


def test_unwrapped_and_the_rules_of_base_forms() -> None:
    assert unwrapped("a%2Bb+<i>c</i>\n d   e ") == "a b c d e"
    nouns = NounClasses({"fox": "n1", "man": "n2", "glass": None, "glasses": "n3", "city": "n4"}, {"men": ["man"]})
    assert [nouns.base(word) for word in ("foxes", "men", "glasses", "cities", "xyz")] == [
        "fox", "man", "glass", "city", "xyz",
    ]  # fmt: skip
    assert nouns.classes(["foxes", "fox", "glasses", "men"]) == {"n1": "fox", "n2": "man"}


def test_columns_and_a_vocabulary() -> None:
    storage = MemoryStorage()
    storage.write("memory://c/counts.json", b'{"n3544360": 9, "n2084071": 7, "n2121620": 7}')
    column = open_score("catlip")(images(["a dog and a house", None, "cat house"]))["it"]
    rows = rows_of(column)
    assert [[(key, noun) for key, noun, _ in row] for row in rows] == [
        [("n2084071", "dog"), ("n3544360", "house")],
        [],
        [("n2121620", "cat"), ("n3544360", "house")],
    ]
    assert all(score != score for row in rows for *_, score in row), "a class without a score is NaN, null in the file"
    kept = open_score("catlip", storage=storage, vocabulary="memory://c/counts.json", vocabulary_size=2)
    rows = rows_of(kept(images(["a dog and a house", None, "cat house"]))["it"])
    assert [[noun for _, noun, _ in row] for row in rows] == [["dog", "house"], [], ["house"]]
    with pytest.raises(ConfigError, match="vocabulary_size needs a vocabulary"):
        open_score("catlip", vocabulary_size=2)
    storage.write("memory://c/bad.json", b"3")
    with pytest.raises(ConfigError, match="must be a JSON list"):
        open_score("catlip", storage=storage, vocabulary="memory://c/bad.json")
