"""The lexicon that ships, the making of one from WordNet's files, and which words may name a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.errors import ConfigError
from curator.free.lexicon import NAME, lexicon, read_lexicon
from curator.free.make_lexicon import make_lexicon
from curator.free.pos import open_filter
from curator.free.singular import singular_phrase

HEADING = "  1 a licence\n"


def wordnet(folder: Path) -> Path:
    """WordNet's files with half a dozen words."""
    folder.mkdir()
    files = {
        "index.noun": "dog n 2 1 @ 2 1 00000020 00000040\ndomestic_dog n 1 0 1 0 00000020\nsee n 1 0 1 0 00000060\n",
        "index.adj": "red a 1 0 1 0 00000001\n",
        "index.verb": "see v 1 0 1 0 00000001\nhop v 1 0 1 0 00000002\nhike v 1 0 1 0 00000002\ncarry v 1 0 1 0 0003\n",
        "verb.exc": "taken take\n",
        "cntlist.rev": "dog%1:05:00:: 1 42\ndog%2:38:00:: 1 2\nsee%2:39:00:: 1 900\nred%3:00:01:: 1 5\n",
    }
    for name, text in files.items():
        (folder / name).write_text((HEADING if name.startswith("index") else "") + text)
    return folder


def test_a_lexicon_is_made_from_wordnets_files(tmp_path: Path) -> None:
    path = make_lexicon(wordnet(tmp_path / "wordnet"), tmp_path / "out")
    made = read_lexicon(path)
    assert made.nouns == {"dog": (0, 1), "domestic dog": (0,), "see": (2,)}
    assert made.uses == {"dog": 42}
    assert made.named == {"dog", "red"}  # "see" is a noun less than one time in ten
    assert made.synonyms("dog", "domestic dog")
    assert not made.synonyms("dog", "see")
    assert not made.synonyms("dog", "unheard-of")
    assert made.frequent() == ["dog"]
    again = make_lexicon(tmp_path / "wordnet", tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    assert path.name == NAME


def test_participles_are_known_by_their_verb(tmp_path: Path) -> None:
    made = read_lexicon(make_lexicon(wordnet(tmp_path / "wordnet"), tmp_path / "out"))
    words = ("hopping", "hiked", "carried", "seeing", "taken", "hops", "ing", "swimming", "bred")
    assert [word for word in words if made.names(word)] == ["hopping", "hiked", "carried", "seeing", "taken"]


def test_a_folder_without_wordnet_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wordnet-base"):
        make_lexicon(tmp_path, tmp_path / "out")


def test_the_lexicon_that_ships_is_wordnets() -> None:
    words = lexicon()
    assert len(words.nouns) == 117_798
    assert len(words.frequent()) == 11_776
    assert words.synonyms("automobile", "car")
    assert words.synonyms("golden retriever", "golden retriever")


def test_which_words_may_name_a_picture() -> None:
    text = "the see holding dog puppies golden retrievers are make slowly two best quickly glass painted in"
    words = text.split()
    kept = open_filter("wordnet")([words, []])
    assert kept == [["holding", "dog", "puppies", "golden", "retrievers", "two", "best", "glass", "painted"], []]
    assert open_filter("none")([words]) == [words]


@pytest.mark.parametrize(
    ("phrase", "single"), [("golden retrievers", "golden retriever"), ("wine glass", "wine glass"), ("C's", "C's")]
)
def test_the_last_word_of_a_phrase_is_put_in_the_singular(phrase: str, single: str) -> None:
    assert singular_phrase(phrase) == single
