"""The lexicon that ships, and the making of one from WordNet's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.errors import ConfigError
from curator.wordnet.lexicon import NAME, Lexicon, lexicon
from curator.wordnet.making import make_lexicon

HEADING = "  1 a licence\n"


def wordnet(folder: Path) -> Path:
    """WordNet's files with half a dozen words."""
    folder.mkdir()
    files = {
        "index.noun": "dog n 2 1 @ 2 1 00000020 00000040\ndomestic_dog n 1 0 1 0 00000020\ncad n 1 0 1 0 00000040\n"
        "bitch n 1 0 1 0 00000020\nsee n 1 0 1 0 00000060\n",
        "index.adj": "red a 1 0 1 0 00000001\n",
        "index.verb": "see v 1 0 1 0 00000001\nhop v 1 0 1 0 00000002\nhike v 1 0 1 0 00000002\ncarry v 1 0 1 0 0003\n",
        "data.noun": "00000020 05 n 02 dog 0 domestic_dog 0 000 | barks\n00000040 05 n 01 cad 0 000 | a man\n"
        "00000060 05 n 02 see 0 u_s 0 000 | a bishop's\n",
        "noun.exc": "men man\nu_ses u_s\n",
        "verb.exc": "taken take\n",
        "cntlist.rev": "dog%1:05:00:: 1 42\ndog%2:38:00:: 1 2\nsee%2:39:00:: 1 900\nred%3:00:01:: 1 5\n",
    }
    for name, text in files.items():
        (folder / name).write_text((HEADING if name.startswith(("index", "data")) else "") + text)
    return folder


def test_a_lexicon_is_made_from_wordnets_files(tmp_path: Path) -> None:
    path = make_lexicon(wordnet(tmp_path / "wordnet"), tmp_path / "out")
    made = Lexicon(path)
    assert made.nouns == {"bitch", "cad", "dog", "domestic dog", "see"}
    assert [made.synsets(noun) for noun in ("dog", "domestic dog", "see", "cow")] == [(20, 40), (20,), (60,), ()]
    assert made.uses == {"dog": 42}
    assert made.named == {"bitch", "cad", "dog", "red"}  # "see" is a noun less than one time in ten
    assert made.synonyms("dog", "domestic dog")
    assert made.synonyms("dog", "cad")
    assert made.classes.nouns == {"bitch": None, "cad": "n40", "dog": "n20", "see": "n60"}  # a bitch is dog's
    assert made.classes.irregular == {"men": ["man"]}
    assert not made.synonyms("dog", "see")
    assert not made.synonyms("dog", "unheard-of")
    assert made.frequent() == ["dog"]
    again = make_lexicon(tmp_path / "wordnet", tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    assert path.name == NAME


def test_participles_are_known_by_their_verb(tmp_path: Path) -> None:
    made = Lexicon(make_lexicon(wordnet(tmp_path / "wordnet"), tmp_path / "out"))
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
    assert words.synsets("dog")[0] == 2_084_071
    assert (len(words.classes.nouns), words.classes.class_of("dogs")) == (57_506, "n2084071")
