"""The heads by description, from the published files to columns."""

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
from curator.kernels.vectors import l2_normalize
from curator.labels.heads import Head, LabelSetSpec, head_columns, prepare_heads, read_spec
from curator.labels.vocabulary import Vocabulary
from curator.storage import open_storage
from tests.labels.fakes import HashEncoder

ANIMALS = Vocabulary.load(["cat", {"name": "great dane", "id": "dog"}, "bird"])
ENCODER = HashEncoder()
DESCRIPTIONS = {"Cat": ["a small animal", "whiskers"], "great_dane": ["long legs"], "bird": [], "whale": ["fins"]}


def built(tmp_path: Path, head: str, *, encoder: HashEncoder | None = None, top_k: int = 3, **options: Any) -> Head:
    spec = LabelSetSpec("kind", ANIMALS, ("a {}",), head=head, top_k=top_k, options=options)
    (made,) = prepare_heads([read_spec(spec, open_storage())], encoder or ENCODER, cache_dir=tmp_path)
    return made


def seen(count: int = 6) -> Embeddings:
    vectors = l2_normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(count)))
    return Embeddings(vectors, [None] * count, [None] * count)


def mean(*texts: str) -> Tensor:
    return torch.stack([ENCODER.vector(text) for text in texts]).mean(0)


def check(head: Head, classes: list[Tensor]) -> dict[str, Any]:
    """The labels of a batch are those of ``classes``; its columns are the planned ones."""
    columns = head(seen())
    expected = torch.softmax(20 * seen().vectors @ torch.stack(classes).T, 1).sort(1, descending=True)
    labels = columns["kind"]
    assert isinstance(labels, Labels)
    assert labels.indices.tolist() == expected.indices.tolist()
    assert np.allclose(labels.scores, expected.values.numpy(), atol=1e-5)
    assert list(columns) == [column.name for column in head.columns]
    assert head(seen(0))["kind"].indices.shape[0] == 0  # type: ignore[union-attr]
    return columns


def test_cupl_is_the_renormalised_mean_of_sentences(tmp_path: Path) -> None:
    sentences = {"cat": ["A cat.", "Fur.", "A cat."], "dog": ["A big dog."], "bird": ["Wings.", "A beak."]}
    file = tmp_path / "cupl.json"
    file.write_text(json.dumps(sentences))
    classes = [mean("A cat.", "Fur."), mean("A big dog."), mean("Wings.", "A beak.")]
    check(built(tmp_path, "cupl", descriptions=str(file)), [l2_normalize(each) for each in classes])
    both = [mean("a cat", "A cat.", "Fur."), mean("a great dane", "A big dog."), mean("a bird", "Wings.", "A beak.")]
    head = built(tmp_path, "cupl", descriptions=sentences, with_templates=True)
    check(head, [l2_normalize(each) for each in both])


def test_dclip_is_the_mean_of_cosines_and_shows_its_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.labels.heads.dense.BLOCK_FLOATS", 64)  # two rows a block
    cat = ["A photo of a cat, which is a small animal.", "A photo of a cat, which has whiskers."]
    classes = [mean(*cat), mean("A photo of a great dane, which has long legs."), mean("A photo of a bird.")]
    columns = check(built(tmp_path, "dclip", descriptions=DESCRIPTIONS), classes)
    closest = (seen().vectors @ torch.stack([ENCODER.vector(text) for text in cat]).T).argmax(1).tolist()
    for row, evidence in enumerate(columns["kind_evidence"]):
        label = columns["kind"].indices[row, 0]
        assert sorted(evidence) == sorted([["a small animal", "whiskers"], ["long legs"], []][label])
        if label == 0:
            assert evidence[0] == ["a small animal", "whiskers"][closest[row]]


def test_dclip_s_maximum_and_pattern(tmp_path: Path) -> None:
    head = built(
        tmp_path, "dclip", descriptions=DESCRIPTIONS, aggregate="max", evidence=0, pattern="{label}, {description}"
    )
    texts = [["cat, which is a small animal", "cat, which has whiskers"], ["great dane, which has long legs"], ["bird"]]
    vectors = [torch.stack([ENCODER.vector(text) for text in own]) for own in texts]
    cosines = torch.stack([(seen().vectors @ own.T).amax(1) for own in vectors], dim=1)
    labels = head(seen())["kind"]
    assert labels.indices[:, 0].tolist() == cosines.argmax(1).tolist()  # type: ignore[union-attr]
    assert [column.name for column in head.columns] == ["kind", "kind_abstained"]


def test_waffle_gives_every_label_the_same_random_texts(tmp_path: Path) -> None:
    encoder = HashEncoder()
    built(tmp_path, "waffle", encoder=encoder, pairs=4, words=["alpha", "beta"])
    (asked,) = encoder.asked
    cats = [text for text in asked if " cat," in text]
    assert [text.replace(" cat,", " bird,") for text in cats] == [text for text in asked if " bird," in text]
    assert 4 < len(cats) <= 8
    again = HashEncoder()
    built(tmp_path / "other", "waffle", encoder=again, pairs=4, words=["alpha", "beta"])
    assert again.asked == encoder.asked


PAIRS = {
    "cat||great dane": {"cat": ["small"], "great dane": ["huge"]},
    "cat||bird": {"cat": ["furry", "small"], "bird": ["feathered"]},
    "whale||bird": {"whale": ["wet"], "bird": ["dry"]},
}
PUBLISHED = {
    "0_1": {"classes": [0, 1], "prompt_pairs": [{"prompt_pair": ["small", "huge"]}]},
    "0_2": {
        "classes": [0, 2],
        "prompt_pairs": [{"prompt_pair": ["furry", "feathered"]}, {"prompt_pair": ["small", "feathered"]}],
    },
}


@pytest.mark.parametrize("differences", [PAIRS, PUBLISHED])
def test_fudd_tells_the_best_apart_by_their_differences(tmp_path: Path, differences: dict[str, Any]) -> None:
    head = built(tmp_path, "fudd", differences=differences)
    classes = [mean("small", "furry"), mean("huge", "a great dane"), mean("feathered", "a bird")]
    columns = check(head, [l2_normalize(each) for each in classes])
    plain = seen().vectors @ torch.stack([ENCODER.vector(text) for text in ("a cat", "a great dane", "a bird")]).T
    assert columns["kind_first"].indices[:, 0].tolist() == plain.argmax(1).tolist()


def test_fudd_touches_only_the_best_k_and_only_where_in_doubt(tmp_path: Path) -> None:
    head = built(tmp_path, "fudd", differences=PAIRS, k=2)
    names = [ENCODER.vector(text) for text in ("a cat", "a great dane", "a bird")]
    plain = torch.softmax(20 * seen().vectors @ torch.stack(names).T, 1)
    labels = head(seen())["kind"]
    assert isinstance(labels, Labels)
    for row in range(6):
        scores = dict(zip(labels.indices[row].tolist(), labels.scores[row].tolist(), strict=True))
        assert sum(scores.values()) == pytest.approx(1.0, abs=1e-5)
        last = int(plain[row].argmin())
        assert scores[last] == pytest.approx(float(plain[row, last]), abs=1e-6)
    sure = built(tmp_path, "fudd", differences=PAIRS, margin=0.0)(seen())["kind"]
    assert np.allclose(sure.scores, plain.sort(1, descending=True)[0].numpy(), atol=1e-6)  # type: ignore[union-attr]


def test_fudd_of_a_sigmoid_encoder_keeps_the_best_k_in_front(tmp_path: Path) -> None:
    head = built(tmp_path, "fudd", encoder=HashEncoder(bias=-1.0), differences=PAIRS, k=2)
    labels, first = head(seen())["kind"], head(seen())["kind_first"]
    assert isinstance(labels, Labels)
    assert isinstance(first, Labels)
    assert all(first.indices[row, 0] in labels.indices[row, :2] for row in range(6))


def test_disclip_chooses_descriptions_on_the_sample(tmp_path: Path) -> None:
    vectors = {id_: ENCODER.vector(f"image of {id_}").tolist() for id_ in ANIMALS.ids}
    head = built(
        tmp_path,
        "disclip",
        descriptions=DESCRIPTIONS,
        prototypes={"prototypes": vectors, "encoder_digest": "fake"},
        m=1,
    )
    pool = ["an object which is a small animal.", "an object which has whiskers.", "an object which has long legs."]
    texts = torch.stack([ENCODER.vector(text) for text in pool])
    means = torch.tensor(list(vectors.values())) @ texts.T
    classes = []
    for row, name in enumerate(("a cat", "a great dane", "a bird")):
        leads = {
            column: float(means[row, column]) - float(means[:, column].sum() - means[row, column]) / 2
            for column in range(3)
            if float(means[row, column]) == float(means[:, column].max())
        }
        chosen = texts[max(leads, key=leads.__getitem__)] if leads else ENCODER.vector(name)
        classes.append((ENCODER.vector(name) + chosen) / 2)
    check(head, classes)


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        ("cupl", {}, "needs the option descriptions"),
        ("cupl", {"descriptions": {}}, "it must be a table with at least one entry"),
        ("cupl", {"descriptions": {"cat": ["x"], "birds": ["x"]}}, "no entry for 2 of 3 labels, first 'great dane'"),
        ("cupl", {"descriptions": {"cat": ["x"], "dog": ["x"], "birds": ["x"]}}, r"\(it has 'birds'\)"),
        ("cupl", {"descriptions": {**DESCRIPTIONS}}, "descriptions of 'bird' hold no text"),
        ("cupl", {"descriptions": {"cat": "text"}}, "of 'cat' must be a list of texts"),
        ("cupl", {"descriptions": DESCRIPTIONS, "with_template": True}, "did you mean 'with_templates'"),
        ("dclip", {"descriptions": DESCRIPTIONS, "pattern": "{label}"}, "must hold {label} and {description}"),
        ("dclip", {"descriptions": DESCRIPTIONS, "aggregate": "sum"}, "must be one of mean, max"),
        ("waffle", {"alphabet": ""}, "alphabet is ''; it must be text that is not empty"),
        ("waffle", {"pairs": 0}, "pairs is 0"),
        ("fudd", {"differences": {"cat": {}}}, "must be written 'a||b'"),
        ("fudd", {"differences": {"a": {"classes": [0, 9], "prompt_pairs": []}}}, "class 9 of a vocabulary of 3"),
        ("fudd", {"differences": {"a": {"classes": [0]}}}, "not of the published form"),
        ("fudd", {"differences": PAIRS, "k": 1}, "k is 1; it must be a whole number of at least 2"),
        ("disclip", {"descriptions": DESCRIPTIONS}, "needs the option prototypes"),
        ("disclip", {"descriptions": DESCRIPTIONS, "prototypes": {"prototypes": {"cat": [1]}}}, "none for 'dog'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, head: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("||", r"\|\|")):
        built(tmp_path, head, **options)


def test_files_are_read_once_by_the_driver(tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    file.write_text(json.dumps(DESCRIPTIONS))
    spec = read_spec(LabelSetSpec("kind", ANIMALS, head="dclip", options={"descriptions": str(file)}), open_storage())
    assert spec.options["descriptions"] == DESCRIPTIONS
    file.write_text("{")
    assert [column.kind for column in head_columns(spec)] == ["labels", "flag", "strings"]
    with pytest.raises(ConfigError, match="is not valid JSON"):
        read_spec(LabelSetSpec("kind", ANIMALS, head="dclip", options={"descriptions": str(file)}), open_storage())


def test_prototypes_of_another_encoder_are_refused(tmp_path: Path) -> None:
    prototypes = {"prototypes": {id_: [0.0, 1.0] for id_ in ANIMALS.ids}}
    with pytest.raises(ConfigError, match="made with another encoder"):
        built(tmp_path, "disclip", descriptions=DESCRIPTIONS, prototypes=prototypes)
