"""Which words of captions may name a picture without a tagger, and the singular of a phrase."""

from __future__ import annotations

import subprocess
import sys

import pytest

from curator.free.pos import open_filter
from curator.kernels.plurals import singular_phrase


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


def test_inflect_is_imported_without_its_costly_checks_and_typeguard_is_left_as_it_was() -> None:
    code = """
import typeguard
from curator.kernels.plurals import singular
before = typeguard.typechecked
print(singular("dogs"), singular("children"), singular("dog"), typeguard.typechecked is before)
import inflect
try:
    inflect.engine().singular_noun(7)
except Exception as error:
    print(type(error).__name__)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0] == "dog child dog True"
    assert told[1] != "TypeCheckError"
