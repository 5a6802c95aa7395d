"""Heads that decide: abstention round any head, tags with thresholds, labels with a bias."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from curator.data import ColumnValues, Embeddings, Labels
from curator.errors import ConfigError
from curator.labels.heads import HEADS, LabelSetSpec, head_columns, prepare_heads, read_spec
from curator.labels.vocabulary import Vocabulary
from curator.storage import open_storage
from tests.labels.fakes import HashEncoder

ANIMALS = Vocabulary.load(["cat", "dog", "bird", {"name": "hot dog", "id": "food"}])
WORDS = [f"word {number}" for number in range(60)]


def seen(vectors: Tensor) -> Embeddings:
    return Embeddings(vectors, [None] * len(vectors), [None] * len(vectors))


def run(
    tmp_path: Path, vectors: Tensor, *, encoder: HashEncoder | None = None, **settings: Any
) -> dict[str, ColumnValues]:
    spec = read_spec(LabelSetSpec("kind", ANIMALS, **{"templates": ("a {}",), **settings}), open_storage())
    (head,) = prepare_heads([spec], encoder or HashEncoder(), cache_dir=tmp_path)
    found = head(seen(vectors))
    assert set(found) == {column.name for column in head.columns} == {column.name for column in head_columns(spec)}
    return found


def images() -> Tensor:
    """A cat, a word of no animal, and something between cat and dog."""
    encoder = HashEncoder()
    between = encoder.vector("a cat") + encoder.vector("a dog")
    rows = torch.stack([encoder.vector("a cat"), encoder.vector("the nice word 3"), between])
    return torch.nn.functional.normalize(rows, dim=1)


def labels(found: dict[str, ColumnValues]) -> list[list[str]]:
    values = found["kind"]
    assert isinstance(values, Labels)
    return [[values.ids[i] for i in row[:n]] for row, n in zip(values.indices, values.counts, strict=True)]


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("head", ["zero_shot", "calibrated"])
def test_scores_are_the_formulas(head: str, tmp_path: Path) -> None:
    encoder = HashEncoder()
    vectors = images()
    cosine = (vectors @ torch.stack([encoder.vector(f"a {name}") for name in ANIMALS.names]).T).numpy()
    p = softmax(encoder.logit_scale * cosine)
    ranked = np.sort(p, axis=1)[:, ::-1]
    expected = {
        "max_probability": 1 - ranked[:, 0],
        "margin": 1 - (ranked[:, 0] - ranked[:, 1]),
        "entropy": -(p * np.log(p)).sum(axis=1) / np.log(4),
        "energy": -np.log(np.exp(cosine).sum(axis=1)),
        "mcm": 1 - softmax(cosine).max(axis=1),
    }
    for score, values in expected.items():
        found = run(tmp_path, vectors, head=head, top_k=1, abstain={"score": score})
        np.testing.assert_allclose(found["kind_ood"], values, atol=2e-6)
        assert found["kind_ood"].dtype == np.float32
        assert found["kind"].indices.shape == (3, 1)
        plain = run(tmp_path, vectors, head=head, top_k=1)
        assert labels(found) == labels(plain)
        assert found["kind_abstained"].tolist() == plain["kind_abstained"].tolist(), "no threshold, no other decision"


def test_a_threshold_abstains(tmp_path: Path) -> None:
    found = run(tmp_path, images(), abstain={"score": "max_probability", "threshold": 0.3})
    assert found["kind_abstained"].tolist() == (found["kind_ood"] > 0.3).tolist()
    assert found["kind_abstained"].tolist()[0] is False
    assert True in found["kind_abstained"].tolist()


def test_negative_labels_know_what_is_no_animal(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("# nouns\n" + "\n".join([*WORDS, "Cat", "word 3"]) + "\n")
    encoder = HashEncoder(dim=64)
    vectors = torch.stack([encoder.vector("the nice cat"), encoder.vector("the nice word 3")])
    abstain = {"score": "neglabel", "words": str(tmp_path / "words.txt"), "share": 1.0, "groups": 3, "threshold": 0.5}
    found = run(tmp_path, vectors, encoder=encoder, abstain=abstain)
    assert found["kind_abstained"].tolist() == [False, True]
    assert found["kind_ood"][0] < 0.1 < 0.6 < found["kind_ood"][1]
    spec = read_spec(LabelSetSpec("kind", ANIMALS, abstain=abstain), open_storage())
    assert spec.abstain["words"] == WORDS, "read by the driver, once each, without the labels themselves"
    assert len(run(tmp_path, vectors[:0], encoder=encoder, abstain=abstain)["kind_ood"]) == 0


@pytest.mark.parametrize(
    ("abstain", "message"),
    [
        ({"score": "maximum"}, "must be one of max_probability"),
        ({"score": "mcm", "treshold": 1}, "no option 'treshold'; did you mean 'threshold'"),
        ({"threshold": 1}, "must be one of"),
        ({"score": "neglabel"}, "needs the option words"),
        ({"score": "neglabel", "words": "absent.txt"}, "words absent.txt does not exist"),
        ({"score": "neglabel", "words": ["a"], "template": "nice"}, "must hold {} once"),
        ({"score": "mcm", "temperature": 0}, "temperature is 0"),
    ],
)
def test_what_abstain_may_say(abstain: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, images(), abstain=abstain)


def test_every_head_that_ranks_can_abstain() -> None:
    factors = {"factors": {"place": {"land": ["on land"], "water": ["on water"]}}}
    needed = {
        "chils": {"children": {name: ["young"] for name in ANIMALS.names}},
        "perceptionclip": factors,
        "ideal_words": factors,
    }
    for name, head in HEADS.items():
        spec = LabelSetSpec("kind", ANIMALS, head=name, options=needed.get(name, {}))
        columns = [column.name for column in head.columns_of(spec)]
        if "kind" in columns:
            asked = replace(spec, abstain={"score": "mcm", "threshold": 0.5})
            assert [column.name for column in head_columns(asked)] == [*columns, "kind_ood"]


def test_the_digest_covers_how_it_abstains(tmp_path: Path) -> None:
    spec = LabelSetSpec("kind", ANIMALS, abstain={"score": "mcm", "threshold": 0.5})
    other = replace(spec, abstain={"score": "mcm", "threshold": 0.6})
    one, two = (
        prepare_heads([spec], HashEncoder(), cache_dir=tmp_path),
        prepare_heads([other], HashEncoder(), cache_dir=tmp_path),
    )
    assert one[0].digest != two[0].digest


def test_tags_by_threshold_of_their_own(tmp_path: Path) -> None:
    encoder = HashEncoder(bias=-10.0)
    (tmp_path / "t.json").write_text(json.dumps({"thresholds": {"Hot Dog": 0.9, "dog": 0.0}}))
    options = {"thresholds": str(tmp_path / "t.json")}
    vectors = images()
    cosine = vectors @ torch.stack([encoder.vector(f"a {name}") for name in ANIMALS.names]).T
    p = torch.sigmoid(20 * cosine - 10)
    limits = torch.tensor([0.5, 0.0, 0.5, 0.9])
    found = run(tmp_path, vectors, encoder=encoder, head="tags", top_k=4, min_score=0.5, options=options)
    for row, ids in enumerate(labels(found)):
        expected = [n for n in torch.argsort(-p[row]).tolist() if p[row, n] >= limits[n]]
        assert ids == [ANIMALS.ids[n] for n in expected]
    assert found["kind_abstained"].tolist() == [False, False, False]
    bare = run(tmp_path, vectors, encoder=encoder, head="tags", min_score=1.0)
    assert bare["kind_abstained"].tolist() == [True, True, True]


def test_tags_exclude_each_other_and_cut_relative_to_the_best(tmp_path: Path) -> None:
    encoder = HashEncoder()
    options = {"bias": -1.0, "exclusive": [["cat", "dog"]]}
    kept = labels(run(tmp_path, images(), encoder=encoder, head="tags", top_k=4, options=options))
    assert all(len({"cat", "dog"} & set(ids)) == 1 for ids in kept)
    one = labels(run(tmp_path, images(), encoder=encoder, head="tags", options={"bias": -1.0, "relative": 1.0}))
    assert [len(ids) for ids in one] == [1, 1, 2], "what ties with the best stays"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no logit bias"),
        ({"bias": 0, "thresholds": {"cow": 0.5}}, "'cow', which is no label"),
        ({"bias": 0, "thresholds": {"cat": 2}}, "thresholds of 'cat' is 2; it must be a number from 0 to 1"),
        ({"bias": 0, "exclusive": ["cat"]}, "list of lists"),
    ],
)
def test_what_tags_refuse(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, images(), head="tags", options=options)


def test_a_bias_moves_the_decision_and_names_the_group(tmp_path: Path) -> None:
    options: dict[str, Any] = {"groups": {"pets": ["cat", "dog"], "others": ["bird"]}}
    plain = run(tmp_path, images(), head="calibrated", top_k=4, options=options)
    assert labels(plain) == labels(run(tmp_path, images(), top_k=4))
    np.testing.assert_allclose(plain["kind"].scores, run(tmp_path, images(), top_k=4)["kind"].scores, atol=1e-6)
    assert plain["kind_group"][0] == ["pets"]
    moved = run(tmp_path, images(), head="calibrated", top_k=4, options={**options, "group_bias": {"pets": 2.5}})
    assert {ids[0] for ids in labels(moved)} <= {"bird", "food"}
    assert all(set(ids[2:]) == {"cat", "dog"} for ids in labels(moved))
    hub = run(tmp_path, images(), head="calibrated", options={"offsets": {"cat": 2.5}})
    assert [ids[-1] for ids in labels(hub)] == ["cat"] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offsets": {"cat": "much"}}, "offsets of 'cat' is 'much'; it must be a number"),
        ({"group_bias": {"pets": 1.0}}, "which groups does not have"),
        ({"groups": {"pets": ["cat"], "cats": ["cat"]}}, "leave it in one"),
    ],
)
def test_what_a_bias_refuses(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, images(), head="calibrated", options=options)
