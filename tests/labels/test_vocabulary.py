"""Vocabularies from text, JSON, TOML and lists: what they hold, their digest, and how mistakes are named."""

from __future__ import annotations

import json
import pickle
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import ConfigError
from curator.labels.vocabulary import Label, Vocabulary


def written(directory: Path, content: str, name: str = "labels.txt") -> Path:
    path = directory / name
    path.write_text(content, encoding="utf-8")
    return path


def test_text_is_a_label_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff# animals\n\ncat\n  hot   dog  # the food\r\nC#\nCrème brûlée\n")
    vocabulary = Vocabulary.load(path)
    assert vocabulary.names == ("cat", "hot dog", "C#", "Crème brûlée")
    assert vocabulary.ids == ("cat", "hot_dog", "c", "crème_brûlée")


def test_ids_are_made_unique_and_never_take_a_stated_one() -> None:
    vocabulary = Vocabulary.load(["hot dog", "hot-dog", "???", "!!!", {"name": "x", "id": "hot_dog_2"}, "Hot Dog"])
    assert vocabulary.ids == ("hot_dog", "hot_dog_3", "label", "label_2", "hot_dog_2", "hot_dog_4")


ENTRIES: list[Any] = [
    "animal",
    {"id": "n02121808", "name": "cat", "aliases": ["house cat", "cat ", "house  cat"], "parent": "animal"},
    {"name": "dog", "parent": "animal", "templates": ["a drawing of a {}."]},
]
LABELS = (
    Label("animal", "animal"),
    Label("n02121808", "cat", ("house cat", "cat"), "animal"),
    Label("dog", "dog", (), "animal", ("a drawing of a {}.",)),
)
TOML = """
[[labels]]
name = "animal"
[[labels]]
id = "n02121808"
name = "cat"
aliases = ["house cat", "cat ", "house  cat"]
parent = "animal"
[[labels]]
name = "dog"
parent = "animal"
templates = ["a drawing of a {}."]
"""


def test_every_form_gives_the_same_labels(tmp_path: Path) -> None:
    forms = [
        Vocabulary.load(ENTRIES),
        Vocabulary.load(written(tmp_path, json.dumps(ENTRIES), "bare.json")),
        Vocabulary.load(str(written(tmp_path, json.dumps({"labels": ENTRIES}), "table.JSON"))),
        Vocabulary.load(written(tmp_path, TOML, "labels.toml")),
        Vocabulary.load(LABELS),
    ]
    assert all(form.labels == LABELS for form in forms)
    assert len({form.digest for form in forms}) == 1
    assert pickle.loads(pickle.dumps(forms[0])) == forms[0]


def test_homonyms_are_told_apart_by_id() -> None:
    vocabulary = Vocabulary.load([{"name": "crane", "id": "bird"}, {"name": "crane", "id": "machine"}])
    assert vocabulary.names == ("crane", "crane")


@pytest.mark.parametrize(
    "changed",
    [
        ["cat", "dog", "bird"],
        ["dog", "cat"],
        [{"name": "cat", "aliases": ["kitty"]}, "dog"],
        [{"name": "cat", "id": "x"}, "dog"],
        [{"name": "cat", "templates": ["{}"]}, "dog"],
        ["cat", {"name": "dog", "parent": "cat"}],
    ],
)
def test_the_digest_changes_with_everything_stated(changed: list[Any]) -> None:
    assert Vocabulary.load(changed).digest != Vocabulary.load(["cat", "dog"]).digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "cat\ndog\n\n cat\n", r"a.txt: the same stands twice: label 'cat' at line 1 and line 4\. Remove one"),
        ("a.txt", "# nothing\n", "a.txt holds no label"),
        (
            "a.json",
            '[{"id": "x", "name": "a"}, {"id": "x", "name": "b"}]',
            "twice: label id 'x' at entry 1 and entry 2",
        ),
        ("a.json", '["a", {"name": "a"}]', "twice: label 'a' at entry 1 and entry 2"),
        ("a.json", '["a",]', "not valid JSON: .*line 1"),
        ("a.json", "{}", "no list named 'labels'"),
        ("a.json", "[1]", "entry 1 is 1; a label is a name, or a table"),
        ("a.json", '[{"id": "x"}]', "entry 1 has no name"),
        ("a.json", '[{"name": 3}]', "entry 1: name is 3; it must be text"),
        ("a.json", '[{"name": "a", "aliases": "b"}]', "aliases is 'b'; it must be a list"),
        ("a.json", '[{"name": "a", "aliases": [1]}]', "aliases is 1; it must be text"),
        ("a.json", '[{"name": "a", "alias": ["b"]}]', "has the key 'alias'; did you mean 'aliases'"),
        (
            "a.json",
            '["animal", {"name": "a", "parent": "anmal"}]',
            "has the parent 'anmal', which is not there.*mean 'animal'",
        ),
        ("a.json", '[{"name":"a","parent":"b"},{"name":"b","parent":"a"}]', "'a' is its own ancestor.* a -> b"),
        ("a.toml", "labels = [", "not valid TOML"),
        ("a.txt", "".join(f"{n}\n{n}\n" for n in range(7)), r"'4' at line 9 and line 10; and 2 more\. "),
        ("a.txt", "cat\nd\0o\0g\0\n", r"line 2 holds the control character '\\x00'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Vocabulary.load(written(tmp_path, content, name))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.txt does not exist"):
        Vocabulary.load(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"dog\ncat\ncaf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.txt: line 3 cannot be read as UTF-8 text \(byte 0xe9\); save"):
        Vocabulary.load(tmp_path / "latin.txt")
    (tmp_path / "notepad.txt").write_bytes("cat\n".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"notepad\.txt is UTF-16, not UTF-8; save it as UTF-8"):
        Vocabulary.load(tmp_path / "notepad.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        Vocabulary.load(tmp_path)


def test_a_file_as_other_systems_write_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfcat \r\n\r\n\thot\tdog\t\r\n   \r\n# end\r\nzebra")
    assert Vocabulary.load(tmp_path / "a.txt").names == ("cat", "hot dog", "zebra")


def test_100_000_labels(tmp_path: Path) -> None:
    lines = [f"label {n}" for n in range(100_000)]
    assert Vocabulary.load(written(tmp_path, "\r\n".join(lines))).names == tuple(lines)
    vocabulary = Vocabulary.load([f"label {n}" for n in range(100_000)])
    assert len(vocabulary) == len(set(vocabulary.ids)) == 100_000
    assert len(vocabulary.digest) == 64


def normal(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split())


@given(st.lists(st.text().filter(normal), min_size=1, max_size=20, unique_by=normal))
def test_any_names_get_unique_ids(names: list[str]) -> None:
    vocabulary = Vocabulary.load(names)
    assert vocabulary.names == tuple(map(normal, names))
    assert len({identity for identity in vocabulary.ids if identity}) == len(names)
