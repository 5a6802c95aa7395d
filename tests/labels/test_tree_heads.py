"""Trees, and the heads that use them: CHiLS, roll-up, smoothing, relatives, Loki."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from curator.data import Embeddings, Labels
from curator.errors import ConfigError
from curator.kernels.hierarchy import chils, class_maxima, smooth, tree_distances
from curator.kernels.vectors import l2_normalize
from curator.labels.heads import Head, LabelSetSpec, prepare_heads, read_spec
from curator.labels.tree import tree_of
from curator.labels.vocabulary import Vocabulary
from curator.storage import open_storage
from tests.labels.fakes import HashEncoder

ENCODER = HashEncoder()
TREE = Vocabulary.load(
    [
        "animal",
        {"name": "cat", "parent": "animal"},
        {"name": "dog", "parent": "animal"},
        {"name": "poodle", "parent": "dog"},
        "plant",
    ]
)
FLAT = Vocabulary.load(["cat", "dog"])


def built(tmp_path: Path, head: str, vocabulary: Vocabulary = TREE, *, top_k: int = 9, **options: Any) -> Head:
    spec = LabelSetSpec("kind", vocabulary, ("a {}",), head=head, top_k=top_k, options=options)
    (made,) = prepare_heads([read_spec(spec, open_storage())], ENCODER, cache_dir=tmp_path)
    return made


def seen(count: int = 7) -> Embeddings:
    vectors = l2_normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(count)))
    return Embeddings(vectors, [None] * count, [None] * count)


def named(*names: str) -> Tensor:
    return torch.stack([ENCODER.vector(f"a {name}") for name in names])


def best(labels: Any) -> list[str]:
    assert isinstance(labels, Labels)
    return [labels.names[row] for row in labels.indices[:, 0]]


def test_a_tree_has_paths_leaves_and_relatives() -> None:
    tree = tree_of(TREE)
    assert tree.ups == ((0,), (1, 0), (2, 0), (3, 2, 0), (4,))
    assert tree.leaves == (1, 3, 4)
    assert tree.children(0) == [1, 2]
    assert tree.relatives(1) == ([(1, 0), (2, 0), (3, 2)], [(0, 1), (0, 2), (2, 3)])
    assert tree.padded(from_root=True).tolist() == [[0, -1, -1], [0, 1, -1], [0, 2, -1], [0, 2, 3], [4, -1, -1]]


def test_a_table_may_name_nodes_that_are_no_labels() -> None:
    tree = tree_of(FLAT, {"cat": "feline", "dog": "canine", "feline": "mammal", "canine": "mammal"})
    assert [[tree.names[node] for node in up] for up in tree.ups] == [
        ["cat", "feline", "mammal"],
        ["dog", "canine", "mammal"],
    ]
    assert tree.relatives(1) == ([], [])


@pytest.mark.parametrize(
    ("table", "message"),
    [(None, "have no parents"), ({"a": "b", "b": "a"}, "goes in a circle: a -> b"), ({"cat": ""}, "has the node ''")],
)
def test_what_is_no_tree(table: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tree_of(FLAT, table)


@pytest.mark.parametrize("mode", ["normal", "hat", "supagg", "plain"])
def test_chils_takes_roots_for_classes_and_leaves_for_sub_classes(tmp_path: Path, mode: Any) -> None:
    head = built(tmp_path, "chils", mode=mode)
    columns = head(seen())
    assert list(columns) == [column.name for column in head.columns]
    raw, sup = (20 * seen().vectors @ named(*names).T for names in (("cat", "poodle", "plant"), ("animal", "plant")))
    parents = torch.tensor([0, 0, 1])
    scores = chils(raw, sup, parents, mode)
    if mode != "supagg":
        assert best(columns["kind_sub"]) == [("cat", "poodle", "plant")[i] for i in scores.argmax(1).tolist()]
        scores = class_maxima(scores, parents, 2)
    assert best(columns["kind"]) == [("animal", "plant")[i] for i in scores.argmax(1).tolist()]
    assert np.allclose(columns["kind"].scores.sum(1), 1.0, atol=1e-5)  # type: ignore[union-attr]


def test_chils_reads_the_published_form(tmp_path: Path) -> None:
    children = {"cat": ["tabby", "siamese cat", "Cat"], "Dog": ["poodle", "poodle"], "bird": ["robin"]}
    file = tmp_path / "children.json"
    file.write_text(json.dumps(children))
    labels = built(tmp_path, "chils", FLAT, children=str(file))(seen())["kind_sub"]
    assert isinstance(labels, Labels)
    assert labels.names == ("cat", "tabby cat", "siamese cat", "dog", "poodle dog")
    assert labels.ids[1] == "cat/1"
    labels = built(tmp_path, "chils", FLAT, children=children, append=False)(seen(0))["kind_sub"]
    assert labels.names == ("cat", "tabby", "siamese cat", "dog", "poodle")  # type: ignore[union-attr]


def test_labels_are_rolled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.labels.heads.dense.BLOCK_FLOATS", 10)  # two rows a block
    head = built(tmp_path, "tree", sums=True, top_k=1)
    columns = head(seen())
    assert list(columns) == [column.name for column in head.columns]
    p = torch.softmax(20 * seen().vectors @ named("cat", "poodle", "plant").T, 1)
    above = columns["kind_ancestors"]
    assert isinstance(above, Labels)
    for row, leaf in enumerate(p.argmax(1).tolist()):
        path, sums = [
            (["animal"], [p[row, 0] + p[row, 1]]),
            (["animal", "dog"], [p[row, 1], p[row, 0] + p[row, 1]]),
            ([], []),
        ][leaf]
        assert columns["kind_path"][row] == path
        assert above.counts[row] == len(path)
        assert [above.names[i] for i in above.indices[row, : len(path)]] == path[::-1]
        assert above.scores[row, : len(path)].tolist() == pytest.approx([float(each) for each in sums], abs=1e-5)
    every = built(tmp_path, "tree", inner=True)(seen())["kind"]
    assert np.allclose(every.scores.sum(1), 1.0, atol=1e-5)  # type: ignore[union-attr]


def test_class_embeddings_are_smoothed(tmp_path: Path) -> None:
    head = built(tmp_path, "smooth", decay=0.5, distance=1)
    pairs = [torch.tensor(pairs).T for pairs in tree_of(TREE).relatives(1)]
    expected = smooth(named(*TREE.names), [(of, by) for of, by in pairs], 0.5)
    assert torch.allclose(head._vectors, expected, atol=1e-6)  # type: ignore[attr-defined]
    none = built(tmp_path, "smooth", decay=0.0)
    assert torch.allclose(none._vectors, named(*TREE.names), atol=1e-6)  # type: ignore[attr-defined]


def test_relatives_become_prompts(tmp_path: Path) -> None:
    head = built(tmp_path, "relatives", children=1)
    dog = named("dog", "dog, a kind of animal", "dog, such as poodle").mean(0)
    assert torch.allclose(head._vectors[2], l2_normalize(dog), atol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize("metric", ["self", "tree", {"distances": (1 - torch.eye(5)).tolist()}])
def test_loki_answers_with_the_frechet_mean(tmp_path: Path, metric: Any) -> None:
    scored = ["cat", "poodle", "plant"]
    columns = built(tmp_path, "loki", metric=metric, scored=scored)(seen())
    every = named(*TREE.names)
    p = torch.softmax(20 * seen().vectors @ named(*scored).T, 1)
    paths = tree_of(TREE).padded(from_root=True)
    distances = {"self": torch.cdist(every, every), "tree": tree_distances(paths)}.get(
        metric if isinstance(metric, str) else "", 1 - torch.eye(5)
    )
    expected = p @ distances[[1, 3, 4]].square()
    loki = columns["kind_loki"]
    assert isinstance(loki, Labels)
    assert np.allclose(-loki.scores, expected.sort(1)[0].numpy(), atol=1e-4)
    if metric == "self":
        assert best(loki) == [TREE.names[i] for i in expected.argmin(1).tolist()]
    assert best(columns["kind"]) == [scored[i] for i in p.argmax(1).tolist()]


@pytest.mark.parametrize(
    ("head", "vocabulary", "options", "message"),
    [
        ("chils", FLAT, {}, "needs sub-classes"),
        ("chils", FLAT, {"children": {"cat": ["a"]}}, "no entry for 1 of 2 labels, first 'dog'"),
        ("chils", TREE, {"mode": "best"}, "must be one of normal"),
        ("tree", FLAT, {}, "have no parents"),
        ("tree", FLAT, {"tree": "no.json"}, "no.json does not exist"),
        ("smooth", TREE, {"decay": 2}, "decay is 2"),
        ("relatives", FLAT, {"tree": {"cat": "cat"}}, "circle"),
        ("loki", TREE, {"scored": []}, "at least one label"),
        ("loki", TREE, {"scored": ["cats"]}, "names 'cats', which is no label; did you mean 'cat'"),
        ("loki", TREE, {"metric": {"distances": [[0]]}}, "must hold 5 x 5 distances"),
        ("loki", TREE, {"metric": {"distance": []}}, "metric must be self, tree, or a file"),
        ("loki", FLAT, {"metric": "tree"}, "have no parents"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, head: str, vocabulary: Vocabulary, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        built(tmp_path, head, vocabulary, **options)
