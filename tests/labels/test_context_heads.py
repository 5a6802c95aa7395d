"""PerceptionCLIP, ideal words, RoboShot, and the style vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from curator.data import Embeddings, Labels
from curator.errors import ConfigError
from curator.kernels.context import ideal_words, orthonormal, perceive, robustify
from curator.kernels.vectors import l2_normalize
from curator.labels.heads import Head, LabelSetSpec, prepare_heads, read_spec
from curator.labels.vocabulary import Vocabulary
from curator.storage import open_storage
from tests.labels.fakes import HashEncoder

ENCODER = HashEncoder()
BIRDS = Vocabulary.load(["gull", "wren", "crow"])
FACTORS = {
    "place": {"land": ["on land"], "water": ["on water", "at sea"]},
    "style": {"photo": [""], "sketch": ["as a sketch"]},
}


def built(tmp_path: Path, head: str, vocabulary: Vocabulary = BIRDS, **options: Any) -> Head:
    spec = LabelSetSpec("kind", vocabulary, ("a {}",), head=head, options=options)
    (made,) = prepare_heads([read_spec(spec, open_storage())], ENCODER, cache_dir=tmp_path)
    return made


def seen(count: int = 7) -> Embeddings:
    vectors = l2_normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(count)))
    return Embeddings(vectors, [None] * count, [None] * count)


def context(name: str) -> Tensor:
    """The four contexts of a label by hand, [4, D]: land photo, land sketch, water photo, water sketch."""
    texts = [
        [f"a photo of a {name}, on land."],
        [f"a photo of a {name}, on land, as a sketch."],
        [f"a photo of a {name}, on water.", f"a photo of a {name}, at sea."],
        [f"a photo of a {name}, on water, as a sketch.", f"a photo of a {name}, at sea, as a sketch."],
    ]
    return l2_normalize(torch.stack([torch.stack([ENCODER.vector(text) for text in own]).mean(0) for own in texts]))


EVERY = torch.stack([context(name) for name in BIRDS.names])  # [3, 4, 16]


def check(labels: Any, expected: Tensor) -> None:
    assert isinstance(labels, Labels)
    ranked = expected.sort(1, descending=True)
    assert labels.indices.tolist() == ranked.indices.tolist()
    assert np.allclose(labels.scores, ranked.values.numpy(), atol=1e-5)


@pytest.mark.parametrize("infer", ["label", "object"])
def test_perception_in_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, infer: str) -> None:
    monkeypatch.setattr("curator.labels.heads.dense.BLOCK_FLOATS", 32)  # two rows a block
    head = built(tmp_path, "perceptionclip", factors=FACTORS, infer=infer, temperature=2.0)
    columns = head(seen())
    assert list(columns) == [column.name for column in head.columns]
    logits = 20 * torch.einsum("bd,czd->bcz", seen().vectors, EVERY)
    given = 20 * seen().vectors @ context("object").T if infer == "object" else None
    scores, inferred = perceive(logits, temperature=2.0, context=given)
    check(columns["kind"], scores)
    check(columns["kind_place"], torch.stack([inferred[:, :2].sum(1), inferred[:, 2:].sum(1)], dim=1))
    check(columns["kind_style"], torch.stack([inferred[:, ::2].sum(1), inferred[:, 1::2].sum(1)], dim=1))
    assert columns["kind_place"].names == ("land", "water")  # type: ignore[union-attr]


def test_perception_in_one_step_is_a_mean_over_contexts(tmp_path: Path) -> None:
    columns = built(tmp_path, "perceptionclip", factors=FACTORS, steps="one")(seen())
    check(columns["kind"], torch.softmax(20 * seen().vectors @ l2_normalize(EVERY.mean(1)).T, 1))


def test_factors_may_be_left_out(tmp_path: Path) -> None:
    head = built(tmp_path, "perceptionclip", factors=FACTORS, use=["style"])
    assert [column.name for column in head.columns] == ["kind", "kind_abstained", "kind_style"]
    assert head(seen(0))["kind_style"].indices.shape == (0, 2)  # type: ignore[union-attr]


def test_ideal_words_leave_the_factors_out_of_the_labels(tmp_path: Path) -> None:
    head = built(tmp_path, "ideal_words", factors=FACTORS)
    columns = head(seen())
    assert list(columns) == [column.name for column in head.columns]
    origin, (labels, places, styles) = ideal_words(EVERY.flatten(0, 1), (3, 2, 2))
    assert torch.allclose(origin + labels, EVERY.mean(1), atol=1e-6)
    for name, words in (("kind", labels), ("kind_place", places), ("kind_style", styles)):
        check(columns[name], torch.softmax(20 * seen().vectors @ (origin + words).T, 1))


def test_roboshot_projects_the_image_and_not_the_labels(tmp_path: Path) -> None:
    pairs = {"spurious": [["on land", "on water"], ["by day", "at night"]], "useful": [["a beak", "a bill"]]}
    columns = built(tmp_path, "roboshot", pairs=pairs)(seen())
    sides = {role: [[ENCODER.vector(side) for side in pair] for pair in own] for role, own in pairs.items()}
    spans = {role: orthonormal(torch.stack([a - b for a, b in own])) for role, own in sides.items()}
    x = robustify(seen().vectors, spans["spurious"], spans["useful"])
    labels = torch.stack([ENCODER.vector(f"a {name}") for name in BIRDS.names])
    check(columns["kind"], torch.softmax(20 * x @ labels.T, 1))


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        ("perceptionclip", {}, "needs the option factors"),
        ("perceptionclip", {"factors": FACTORS, "use": ["weather"]}, "factor 'weather'; factors has place, style"),
        ("perceptionclip", {"factors": {"place": {"land": ["on land"]}}}, "table of two values or more"),
        ("perceptionclip", {"factors": {"Place": FACTORS["place"]}}, "must be snake_case"),
        ("perceptionclip", {"factors": FACTORS, "use": []}, "use lists no factor"),
        ("perceptionclip", {"factors": FACTORS, "main": "a photo"}, "must hold {} once"),
        ("perceptionclip", {"factors": FACTORS, "temperature": 0}, "temperature is 0"),
        ("ideal_words", {"factors": {"a": {str(n): [""] for n in range(400_000)}}}, "are too many"),
        ("roboshot", {"pairs": {"spurious": [["a"]]}}, "a pair is two different texts"),
        ("roboshot", {"pairs": {"spurios": []}}, "key 'spurios'"),
        ("roboshot", {"pairs": {"useful": []}}, "holds no pair"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, head: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(tmp_path, head, **options)


def test_the_style_vocabulary_comes_with_curator() -> None:
    styles = Vocabulary.load("builtin:style")
    assert {"photograph", "pencil_sketch", "oil_painting", "3d_render", "screenshot", "scan_of_a_page"} <= set(
        styles.ids
    )
    assert all(label.templates for label in styles.labels)
    with pytest.raises(ConfigError, match="there are builtin:style"):
        Vocabulary.load("builtin:../style")
