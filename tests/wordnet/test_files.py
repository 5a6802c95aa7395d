"""WordNet's own files: senses, hypernyms, nouns by use."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.errors import ConfigError
from curator.wordnet.files import WordNet

DATA = """\
  1 a licence in lines that begin with spaces
00000100 03 n 01 animal 0 000 | a living being that moves; "it bites"
00000200 05 n 02 dog 0 domestic_dog 0 001 @ 00000100 n 0000 | a barking companion; "the dog barked"
00000300 05 n 01 puppy 0 001 @ 00000200 n 0000 | a young dog
"""
INDEX = """\
  1 a licence
animal n 1 0 1 1 00000100
dog n 1 1 @ 1 1 00000200
domestic_dog n 1 1 @ 1 0 00000200
puppy n 1 1 @ 1 1 00000300
"""


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    (tmp_path / "data.noun").write_text(DATA)
    (tmp_path / "index.noun").write_text(INDEX)
    (tmp_path / "cntlist.rev").write_text("dog%1:05:00:: 1 40\npuppy%1:05:00:: 1 3\nrun%2:38:00:: 1 99\n")
    return WordNet(tmp_path)


def test_senses_of_a_noun_its_plural_and_an_unknown_word(wordnet: WordNet) -> None:
    assert wordnet.senses("dog")[0].words == ("dog", "domestic dog")
    assert wordnet.senses("dogs") == wordnet.senses("dog")
    assert wordnet.senses("puppies") == wordnet.senses("puppy")
    assert wordnet.senses("zyx") == []


def test_hypernyms_go_from_near_to_far(wordnet: WordNet) -> None:
    assert wordnet.hypernyms("puppy") == ["dog", "animal"]
    assert wordnet.hypernyms("puppy", depth=1) == ["dog"]


def test_frequent_nouns_are_counted_by_use_and_are_nouns(wordnet: WordNet) -> None:
    assert wordnet.frequent(5) == ["dog", "puppy"]
    assert "domestic dog" in wordnet.nouns


def test_a_missing_wordnet_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wordnet-base"):
        WordNet(tmp_path)
