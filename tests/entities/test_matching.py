"""Mentions against a naive search over folded words, and by hand in the scripts and signs that captions bring."""
# ruff: noqa: RUF001

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator.entities.matching import Matcher
from curator.entities.text import Folder, starts
from tests.entities.fakes import named

CASES = [
    (["new york", "york", "new york times"], "The New York Times of New York", ["New York Times", "New York"]),
    (["golden retriever", "retriever"], "golden-retriever, retriever's golden_retriever", [
        "golden-retriever", "retriever", "golden_retriever"]),
    (["dog cat"], "a dog, cat. dog; cat (dog) cat", []),
    (["dog", "mcdonald's"], "the dog's McDonald’s, dogs' DOG", ["dog", "McDonald’s", "DOG"]),
    (["st. louis", "u.s."], "St Louis and St. Louis, U.S. u s", ["St Louis", "St. Louis", "U.S", "u s"]),
    (["cat"], "catalogue bobcat cat9 cat", ["cat"]),
    (["at&t", "c++", "c"], "AT&T uses C++ and c.", ["AT&T", "C++"]),
    (["são paulo", "strasse", "cafe"], "SAO PAULO Straße cafe\u0301", ["SAO PAULO", "Straße", "cafe\u0301"]),
    (["東京タワー", "東京", "ピカチュウ"], "夜の東京タワーと東京とピカチュウ", ["東京タワー", "東京", "ピカチュウ"]),
    (["コーヒー"], "アイスコーヒー", []),
    (["강아지", "한국 음식"], "강아지가 한국 음식을 새끼강아지", ["강아지", "한국 음식"]),
    (["แมว"], "ภาพแมวดำ", ["แมว"]),
    (["🐶", "👩‍🚀", "👩", "🇫🇷"], "🐶\ufe0f👩🏽‍🚀 👩 🇩🇪🇫🇷x", ["🐶\ufe0f", "👩🏽‍🚀", "👩", "🇫🇷"]),
    (["👍"], "ok👍🏿!", ["👍🏿"]),
    (["שלום", "قطة"], "\u200fשָׁלוֹם\u200f, قطّة!", ["שָׁלוֹם", "قطّة"]),
    (["हिन्दी"], "हिन्दी भाषा", ["हिन्दी"]),
    (["ice cream"], "ＩＣＥ\u3000ＣＲＥＡＭ ice\ncream i\u00a0ce", ["ＩＣＥ\u3000ＣＲＥＡＭ", "ice\ncream"]),
    (["mona lisa"], "the “Mona Lisa” (“Mona” Lisa)", ["Mona Lisa"]),
    (["cat"], "", []),
]  # fmt: skip


@pytest.mark.parametrize(("aliases", "caption", "expected"), CASES, ids=[case[0][0] for case in CASES])
def test_mentions_by_hand(tmp_path: Path, aliases: list[str], caption: str, expected: list[str]) -> None:
    mentions = Matcher(named(tmp_path / "g", *aliases))(caption)
    assert [caption[start:end] for start, end, _ in mentions] == expected


def test_a_word_that_begins_many_aliases(tmp_path: Path) -> None:
    match = Matcher(
        named(tmp_path / "g", "oak", *(f"oak{n} leaf" for n in range(3)), *(f"oak x{n}" for n in range(99)))
    )
    for caption in ("Oak x7, oak x99 oak; oak1 leaf oak1", "Oak x7, oak x99 oak; oak1 leaf oak1 é"):
        assert [caption[start:end] for start, end, _ in match(caption)] == ["Oak x7", "oak", "oak", "oak1 leaf"]


def naive(caption: str, keys: set[str]) -> list[tuple[int, int]]:
    """At each word the longest run of tokens that is a key, tried one by one."""
    fold = Folder()
    words, parts = fold(caption)
    begins = list(starts(caption, words))
    found, word = [], 0
    while word < len(words):
        longest: tuple[int, int] | None = None
        reached = word
        for last in range(word, len(words) if parts[word] else word):
            own = parts[last].split()
            for used in range(1, len(own) + 1):
                key = "".join(parts[word:last]) + "".join(f" {token} " for token in own[:used])
                if key in keys and (longest is None or len(key) > longest[1]):
                    after = len(own) - used if len(own) == len(words[last]) else 0
                    longest = (begins[last] + len(words[last]) - after, len(key))
                    reached = last
        if longest is None:
            word += 1
        else:
            found.append((begins[word], longest[0]))
            word = reached + 1
    return found


ALPHABET = st.sampled_from(
    [*"abAB's.-,_ ", "\u2019", "é", "\u0301", "東", "京", "カ", "강", "아", "🐶", "\u200d", "ש", "\ufe0f", "ß"]
)
PHRASES = st.text(ALPHABET, max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(aliases=st.lists(PHRASES, min_size=1, max_size=8), captions=st.lists(st.lists(PHRASES, max_size=6), max_size=4))
def test_mentions_are_those_of_a_naive_search(tmp_path: Path, aliases: list[str], captions: list[list[str]]) -> None:
    fold = Folder()
    keys = {fold.key(alias) for alias in aliases} - {""}
    names = [f"{alias}zz" if not fold.key(alias) else alias for alias in aliases]
    gazetteer = named(tmp_path / "g", "zz zz", *dict.fromkeys(names))
    known = {key for key in (*keys, fold.key("zz zz"), *map(fold.key, names)) if gazetteer.trie.get(key) is not None}
    match = Matcher(gazetteer)
    for pieces in captions:
        caption = " ".join([*pieces, *aliases])
        assert [(start, end) for start, end, _ in match(caption)] == naive(caption, known)


@settings(max_examples=150, deadline=None)
@given(text=st.text())
def test_words_are_where_they_are_said_to_be(text: str) -> None:
    words, parts = Folder()(text)
    begins = list(starts(text, words))
    assert len(words) == len(parts)
    assert begins == sorted(begins)
    for begin, word in zip(begins, words, strict=True):
        found = text[begin : begin + len(word)]
        assert (found.lower() if text.isascii() else found) == word


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(max_codepoint=127)))
def test_the_way_for_ascii_is_the_general_way(text: str) -> None:
    words, parts = Folder()(text)
    general, general_parts = Folder()(f"{text} é")
    assert words == [word.lower() for word in general[:-1]]
    assert parts == general_parts[:-1]


def test_a_caption_of_a_megabyte_takes_bounded_time(tmp_path: Path) -> None:
    match = Matcher(named(tmp_path / "g", "golden retriever", "new york", "aaaa"))
    began = time.process_time()
    assert len(match("the golden retriever " * 50_000)) == 50_000
    for caption in ("a" * 1_000_000, "'" * 1_000_000, "é" * 1_000_000, "🐶" * 250_000, "\u200d" * 300_000):
        assert match(caption) == []
    assert time.process_time() - began < 20
