"""Options are read by one reader: typed values, files through the run's storage, errors in one voice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from curator import options as read
from curator.annotators import AnnotatorSpec
from curator.errors import ConfigError
from curator.labels.heads import LabelSetSpec
from curator.labels.vocabulary import Vocabulary
from curator.options import Asked, Options
from curator.storage import MemoryStorage


def given(value: Any) -> Options:
    return Options("method 'name'", {"key": value})


@pytest.mark.parametrize(
    ("reader", "value", "wanted"),
    [
        (lambda asked: read.number(asked, "key", 1.0, low=0, high=1), 2, "2; it must be a number from 0 to 1"),
        (lambda asked: read.number(asked, "key", 1.0, low=0), float("nan"), "nan; it must be a number of at least 0"),
        (lambda asked: read.number(asked, "key", None, high=0), True, "True; it must be a number of at most 0"),
        (lambda asked: read.number(asked, "key", None), "1", "'1'; it must be a number"),
        (lambda asked: read.whole(asked, "key", 5), 0, "0; it must be a whole number of at least 1"),
        (lambda asked: read.whole(asked, "key", 5, high=9), 10, "10; it must be a whole number from 1 to 9"),
        (lambda asked: read.flag(asked, "key", default=True), 0, "0; it must be true or false"),
        (lambda asked: read.text(asked, "key", None), "", "''; it must be text that is not empty"),
        (
            lambda asked: read.choice(asked, "key", "mean", ("mean", "max")),
            "men",
            "'men'; it must be one of mean, max; did you mean 'mean'?",
        ),
        (lambda asked: read.pattern(asked, "key", "{}", "{}"), "a {} {}", "'a {} {}'; it must hold {} once"),
        (lambda asked: read.texts(asked, "key", ()), ["a", 1], "['a', 1]; it must be a text or a list of texts"),
        (lambda asked: read.table(asked, "key"), [0] * 99, ", 0,...; it must be a table with at least one"),
        (
            lambda asked: read.numbers(asked, "key", high=1),
            {"cat": 2},
            "key of 'cat' is 2; it must be a number",
        ),
    ],
)
def test_a_value_that_is_wrong_is_named_with_what_it_must_be(
    reader: Callable[[Asked], Any], value: Any, wanted: str
) -> None:
    with pytest.raises(ConfigError) as error:
        reader(given(value))
    assert str(error.value).startswith("method 'name': key ")
    assert wanted in str(error.value)


def test_values_are_taken_as_they_are_and_defaults_where_there_are_none() -> None:
    nothing = Options("method 'name'", {})
    assert read.number(given(1), "key", 0.5, low=0, high=1) == 1.0
    assert (read.number(nothing, "key", 0.5), read.number(nothing, "key", None)) == (0.5, None)
    assert (read.whole(given(7), "key", None), read.whole(nothing, "key", None)) == (7, None)
    assert (read.flag(given(False), "key", default=True), read.flag(nothing, "key", default=True)) == (False, True)
    assert read.texts(given("a"), "key", ()) == ("a",)
    assert read.texts(given(["b", "a", "b"]), "key", ()) == ("b", "a")
    assert (read.numbers(given({"cat": 1}), "key"), read.numbers(nothing, "key")) == ({"cat": 1.0}, {})
    with pytest.raises(ConfigError, match="needs the option key: a file of words"):
        read.named(nothing, "key", "a file of words")


def test_a_file_is_read_through_the_storage_and_its_faults_name_the_option() -> None:
    storage = MemoryStorage()
    storage.write("memory://o/words.txt", "# mine\n\nred  boat\ndog\ndog\n".encode("utf-8-sig"))
    storage.write("memory://o/latin.txt", b"caf\xe9")
    storage.write("memory://o/empty.txt", b"#\n")
    assert read.lines(given("memory://o/words.txt"), "key", storage) == ["red boat", "dog"]
    for name, message in (
        ("none", "does not exist"), ("latin", "cannot be read as UTF-8 text"), ("empty", "holds no word"),
    ):  # fmt: skip
        asked = given(f"memory://o/{name}.txt")
        with pytest.raises(ConfigError, match=rf"^method 'name': key memory://o/{name}\.txt {message}"):
            read.lines(asked, "key", storage)
    with pytest.raises(ConfigError, match=r"key memory://o/words\.txt is not valid JSON"):
        read.json_of(given("memory://o/words.txt"), "key", b"{")
    with pytest.raises(ConfigError, match=r"key s3://\*\*\*@bucket/key"):
        read.content(given("s3://me:secret@bucket/key"), "key", storage)


def test_a_file_that_changed_since_the_driver_read_it_is_refused() -> None:
    asked = Options("method 'name'", {"key": "memory://o/x", "key_digest": "one"})
    read.unchanged(asked, "key", "one")
    with pytest.raises(ConfigError, match=r"key memory://o/x changed since the run began; begin a new run"):
        read.unchanged(asked, "key", "two")


def test_specs_say_what_errors_call_them() -> None:
    assert AnnotatorSpec("things", "cased").place == "cased 'things'"
    assert LabelSetSpec("kind", Vocabulary.load(["cat"]), head="tags").place == "label set 'kind', head tags"
