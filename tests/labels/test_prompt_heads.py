"""The heads zpe and autoclip, and the weights file, from template to column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from curator.data import Embeddings, Labels
from curator.errors import ConfigError
from curator.kernels.prompt_weights import autoclip
from curator.labels.heads import LabelSetSpec, head_columns, prepare_heads, read_spec
from curator.labels.vocabulary import Vocabulary
from curator.labels.weighing import weigh_templates
from curator.storage import open_storage
from tests.labels.fakes import HashEncoder

ANIMALS = Vocabulary.load(["cat", "dog", {"name": "bird", "aliases": ["fowl"]}])
TEMPLATES = ("a {}", "the {}", "my {}", "{}")


def spec_of(head: str, **options: Any) -> LabelSetSpec:
    return LabelSetSpec("kind", ANIMALS, TEMPLATES, head=head, options=options)


def seen(count: int = 6, seed: int = 0) -> Embeddings:
    vectors = torch.nn.functional.normalize(
        torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=1
    )
    return Embeddings(vectors, [None] * count, [None] * count)


def test_equal_weights_are_a_mean_over_templates(tmp_path: Path) -> None:
    encoder = HashEncoder()
    file = tmp_path / "weights.json"
    file.write_text(json.dumps({"weights": dict.fromkeys(TEMPLATES, 2.0), "encoder_digest": "fake"}))
    (head,) = prepare_heads([read_spec(spec_of("zpe", weights=str(file)), open_storage())], encoder, cache_dir=tmp_path)
    labels = head(seen())["kind"]
    assert isinstance(labels, Labels)
    cat = torch.stack([encoder.vector(template.replace("{}", "cat")) for template in TEMPLATES]).mean(0)
    assert torch.allclose(head._vectors[0], cat, atol=1e-6)  # type: ignore[attr-defined]


def test_templates_of_weight_zero_are_not_even_encoded(tmp_path: Path) -> None:
    encoder = HashEncoder()
    weights = {"a {}": 1.0, "the {}": 0.0, "my {}": 0, "{}": 0.0}
    prepare_heads([spec_of("zpe", weights={"weights": weights})], encoder, cache_dir=tmp_path)
    assert encoder.asked == [["a cat", "a dog", "a bird", "a fowl"]]


def test_weights_made_from_a_sample_are_the_kernel_s(tmp_path: Path) -> None:
    file = weigh_templates(
        seen(50).vectors, ANIMALS, (*TEMPLATES, "a {}"), HashEncoder(), scale=20.0, cache_dir=tmp_path
    )
    assert tuple(file["weights"]) == TEMPLATES
    assert sum(file["weights"].values()) == pytest.approx(1.0)
    best = max(file["scores"], key=file["scores"].__getitem__)
    selected = weigh_templates(
        seen(50).vectors, ANIMALS, TEMPLATES, HashEncoder(), scale=20.0, select=0.5, combine="equal", cache_dir=tmp_path
    )
    assert selected["weights"][best] == 1.0
    assert min(selected["weights"].values()) == 0.0
    (head,) = prepare_heads([spec_of("zpe", weights=selected)], HashEncoder(), cache_dir=tmp_path)
    assert head(seen())["kind"].counts.tolist() == [3] * 6  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "needs the option weights"),
        ("nowhere.json", "weights nowhere.json does not exist"),
        ({"a {}": 1.0}, "no table 'weights'"),
        ({"weights": {"a {}": 1.0}}, "none for the template 'the {}'"),
        ({"weights": dict.fromkeys(TEMPLATES, -1)}, "the weight of 'a {}' is -1"),
        ({"weights": dict.fromkeys(TEMPLATES, 0)}, "every template has weight 0"),
    ],
)
def test_bad_weights_are_named_by_the_driver(weights: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_spec(spec_of("zpe", **({} if weights is None else {"weights": weights})), open_storage())


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    weights = {"weights": dict.fromkeys(TEMPLATES, 1.0), "encoder_digest": "another"}
    with pytest.raises(ConfigError, match="made with another encoder"):
        prepare_heads([spec_of("zpe", weights=weights)], HashEncoder(), cache_dir=tmp_path)


def test_autoclip_ranks_as_its_kernel_and_shows_its_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.labels.heads.dense.BLOCK_FLOATS", 24)  # two rows a block
    encoder = HashEncoder()
    spec = spec_of("autoclip", evidence=2, beta=0.7)
    (head,) = prepare_heads([spec], encoder, cache_dir=tmp_path)
    columns = head(seen(5))
    assert list(columns) == [column.name for column in head_columns(spec)]
    names = [["cat"], ["dog"], ["bird", "fowl"]]
    prompts = torch.stack(
        [
            torch.stack(
                [
                    torch.nn.functional.normalize(
                        torch.stack([encoder.vector(template.replace("{}", name)) for name in own]).mean(0), dim=0
                    )
                    for template in TEMPLATES
                ]
            )
            for own in names
        ]
    )
    scores, weights = autoclip(torch.einsum("bd,ctd->bct", seen(5).vectors, prompts), beta=0.7)
    labels = columns["kind"]
    assert isinstance(labels, Labels)
    assert labels.indices.tolist() == scores.argsort(dim=1, descending=True).tolist()
    assert torch.allclose(torch.from_numpy(labels.scores), torch.softmax(20 * scores, 1).sort(1, descending=True)[0])
    best = [[TEMPLATES[i] for i in row] for row in weights.topk(2).indices.tolist()]
    assert columns["kind_templates"] == best


def test_autoclip_takes_an_empty_batch_and_one_template(tmp_path: Path) -> None:
    spec = LabelSetSpec("kind", ANIMALS, ("a {}",), head="autoclip", options={"evidence": 5})
    (head,) = prepare_heads([spec], HashEncoder(), cache_dir=tmp_path)
    columns = head(seen(0))
    assert columns["kind"].indices.shape == (0, 3)  # type: ignore[union-attr]
    assert head(seen(1))["kind_templates"] == [["a {}"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 2}, "beta is 2; it must be a number from 0 to 1"),
        ({"evidence": -1}, "evidence is -1"),
        ({"beat": 1}, "did you mean 'beta'"),
    ],
)
def test_autoclip_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        head_columns(spec_of("autoclip", **options))


@pytest.mark.parametrize("head", ["zpe", "autoclip"])
def test_labels_with_own_templates_share_none(tmp_path: Path, head: str) -> None:
    vocabulary = Vocabulary.load(["cat", {"name": "dog", "templates": ["good {}"]}])
    options = {"weights": {"weights": {"{}": 1.0}}} if head == "zpe" else {}
    with pytest.raises(ConfigError, match="'dog' has its own"):
        prepare_heads([LabelSetSpec("kind", vocabulary, head=head, options=options)], HashEncoder(), cache_dir=tmp_path)
