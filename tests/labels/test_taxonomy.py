"""Vocabularies from WordNet's files, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.errors import ConfigError
from curator.labels.taxonomy import branch, with_ancestors
from curator.labels.tree import tree_of
from curator.labels.vocabulary import Vocabulary
from curator.wordnet.files import WordNet

# offset, words, hypernym
NOUNS = [
    (1, "animal beast", 0), (2, "dog domestic_dog", 1), (3, "poodle", 2),
    (4, "cat", 1), (5, "cad dog", 0), (6, "tree", 0),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data, index = ["  1 This software"], {}
    for offset, text, above in NOUNS:
        words = text.split()
        pointer = f"001 @ {above:08d} n 0000" if above else "000"
        listed = " ".join(f"{word} 0" for word in words)
        data.append(f'{offset:08d} 03 n {len(words):02x} {listed} {pointer} | what {words[0]} means; "as said"')
        for word in words:
            index.setdefault(word, []).append(f"{offset:08d}")
    (tmp_path / "data.noun").write_text("\n".join(data) + "\n")
    lines = [f"{word} n {len(own)} 0 {len(own)} 0 {' '.join(own)}" for word, own in index.items()]
    (tmp_path / "index.noun").write_text("\n".join(lines) + "\n")
    (tmp_path / "cntlist.rev").write_text("dog%1:05:00:: 1 42\n")
    return tmp_path


def test_a_branch_has_ids_aliases_and_parents(folder: Path) -> None:
    vocabulary = Vocabulary.load(branch(WordNet(folder), "animal")["labels"])
    assert vocabulary.ids == ("n00000001", "n00000002", "n00000004", "n00000003")
    assert vocabulary.labels[1].aliases == ("domestic dog",)
    assert [len(up) for up in tree_of(vocabulary).ups] == [1, 2, 2, 3]
    assert len(branch(WordNet(folder), "animal", depth=1)["labels"]) == 3
    assert len(branch(WordNet(folder), "animal", most=2)["labels"]) == 2


def test_words_get_what_they_are_kinds_of(folder: Path) -> None:
    vocabulary = Vocabulary.load(with_ancestors(WordNet(folder), ["Poodle", "cat", "dog"], depth=1)["labels"])
    tree = tree_of(vocabulary)
    assert [[tree.names[node] for node in up] for up in tree.ups if tree.names[up[0]] != "animal"] == [
        ["Poodle", "dog", "animal"], ["dog", "animal"], ["cat", "animal"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("root", "sense", "message"),
    [("dgo", 1, "no noun 'dgo'; did you mean 'dog'"), ("dog", 3, "no sense 3: 1 what dog means; 2 what cad means")],
)
def test_unknown_nouns_and_senses(folder: Path, root: str, sense: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        branch(WordNet(folder), root, sense=sense)


def test_the_command_writes_a_vocabulary(folder: Path) -> None:
    out = folder / "labels.json"
    run = CliRunner().invoke(app, ["vocab", "from-wordnet", str(folder), "--root", "dog", "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert Vocabulary.load(out).names == ("dog", "poodle")
    assert json.loads(out.read_text())["labels"][1]["parent"] == "n00000002"
    run = CliRunner().invoke(app, ["vocab", "from-wordnet", str(folder), "--out", str(out)])
    assert isinstance(run.exception, ConfigError)
