"""MetaCLIP's matching and balancing against values recorded from the reference, and against a naive search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curator.errors import ConfigError
from curator.kernels.metaclip import entry_probabilities, keep_probability, spaced, tail_limit
from curator.scores.metaclip import EntryMatcher
from curator.storage import MemoryStorage
from tests.scores.opening import images, open_score

RECORDED = json.loads(Path(__file__).with_name("metaclip.golden.json").read_text())
ENTRIES = [
    "golden retriever",
    "retriever",
    "dog",
    "a dog",
    "St. Louis",
    "new york",
    "New York",
    "T-shirt",
    "dog dog",
    "5",
]


def found(text: str, entries: list[str]) -> list[str]:
    return [entries[number] for number in EntryMatcher(entries)(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A golden retriever, a dog dog", ["golden retriever", "retriever", "dog", "a dog", "dog dog"]),
        ("St. Louis T-shirt", ["T-shirt"]),
        ("visit New York!", ["New York"]),
        ("New  York 5%", []),
    ],
)
def test_the_published_examples(text: str, expected: list[str]) -> None:
    assert found(text, ENTRIES) == expected


def test_matches_are_those_recorded_from_the_reference() -> None:
    match = EntryMatcher(RECORDED["entries"])
    assert len(RECORDED["texts"]) > 300
    assert sum(map(len, RECORDED["matches"])) > 500
    for text, expected in zip(RECORDED["texts"], RECORDED["matches"], strict=True):
        assert match(text) == expected, text


@example(["a ."], "a.")
@example(["a", ".", "a  . b"], "a . b")
@given(
    st.lists(st.text("ab .,'\t🐕é犬א", min_size=1, max_size=6), min_size=1, max_size=12, unique=True),
    st.text("ab .,'\t🐕é犬א", max_size=60),
)
def test_matches_are_those_of_a_substring_search(entries: list[str], text: str) -> None:
    naive = [number for number, entry in enumerate(entries) if f" {entry} " in spaced(text)]
    assert EntryMatcher(entries)(text) == naive


def test_a_caption_of_a_megabyte() -> None:
    text = "a dog, " * 150_000 + "\udcff golden retriever"
    assert len(text) > 2**20
    assert found(text, ENTRIES) == ["golden retriever", "retriever", "dog", "a dog"]


def test_probabilities_are_those_recorded_from_the_reference() -> None:
    probabilities = entry_probabilities(RECORDED["counts"], RECORDED["t"])
    np.testing.assert_allclose(probabilities, RECORDED["probabilities"], rtol=1e-15)
    for matched, expected in RECORDED["keep"]:
        assert keep_probability(matched) == pytest.approx(expected, abs=1e-15)
    for share, limit in RECORDED["p_to_t"]:
        assert tail_limit(RECORDED["counts"], share) == limit
    with pytest.raises(ValueError, match="no entry was counted"):
        tail_limit([0, 0], 0.1)


def test_columns() -> None:
    storage = MemoryStorage()
    storage.write("memory://m/entries.txt", b"dog\r\ncat\n\na dog\ndog\n")
    storage.write("memory://m/counts.json", b'{"dog": 50, "cat": 5, "unseen": 3}')
    metadata = "memory://m/entries.txt"
    plain = open_score("metaclip", storage=storage, metadata=metadata)
    assert [column.kind for column in plain.columns] == ["strings"]
    assert plain(images(["a dog", None, "", "nothing"]))["it"] == [["dog", "a dog"], [], [], []]

    balanced = open_score("metaclip", storage=storage, metadata=metadata, counts="memory://m/counts.json", t=10)
    values = balanced(images(["dog", "cat", "dog, cat", "a dog", "nothing", None]))
    np.testing.assert_allclose(values["it_probability"], [0.2, 1, 1, 1, 0, 0], rtol=1e-6)
    assert balanced.digest != plain.digest


def test_what_cannot_be_read_says_why() -> None:
    storage = MemoryStorage()
    storage.write("memory://m/entries.json", b'["dog"]')
    storage.write("memory://m/other.json", b'{"cat": 1}')
    storage.write("memory://m/empty.txt", b"\n")
    good = "memory://m/entries.json"
    for options, message in [
        ({}, "needs the option metadata"),
        ({"metadata": 5}, "metadata is 5; it must be text"),
        ({"metadata": "memory://m/none"}, "metadata memory://m/none does not exist"),
        ({"metadata": "memory://m/empty.txt"}, "holds no text"),
        ({"metadata": good, "counts": "memory://m/other.json"}, "has no entry of"),
        ({"metadata": good, "counts": good}, "must be a JSON object"),
        ({"metadata": good, "t": 0}, "t is 0; it must be a number of at least 1"),
        ({"metdata": good}, "did you mean 'metadata'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            open_score("metaclip", storage=storage, **options)


def test_metadata_that_changed_since_the_run_began_is_refused() -> None:
    from curator.annotators import AnnotatorSpec, Means, TextVectors
    from curator.scores.metaclip import MetaClip
    from tests.scores.opening import CpuEncoder

    storage, encoder = MemoryStorage(), CpuEncoder(dim=8)
    storage.write("memory://m/e.txt", b"dog")
    spec = MetaClip.read(AnnotatorSpec("it", "metaclip", {"metadata": "memory://m/e.txt"}), storage)
    storage.write("memory://m/e.txt", b"cat")
    with pytest.raises(ConfigError, match="changed since the run began"):
        MetaClip.open(spec, Means(encoder, TextVectors(encoder), storage, None, 1))
