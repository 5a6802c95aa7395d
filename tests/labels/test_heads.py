"""The registry, what a label set may say, and the zero-shot head's columns."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from curator.data import Embeddings, Labels, TextBank
from curator.errors import ConfigError
from curator.kernels.vectors import l2_normalize
from curator.labels.heads import HEADS, Head, LabelSetSpec, build_head, head_columns, prepare_heads
from curator.labels.vocabulary import Label, Vocabulary
from tests.labels.fakes import HashEncoder

ANIMALS = Vocabulary.load(["cat", "dog", "bird", {"name": "hot dog", "id": "food"}])


def seen(vectors: Tensor) -> Embeddings:
    return Embeddings(l2_normalize(vectors), [None] * len(vectors), [None] * len(vectors))


def bank_of(vectors: Tensor) -> dict[str, TextBank]:
    names = tuple(f"label {n}" for n in range(len(vectors)))
    return {"labels": TextBank(names, names, l2_normalize(vectors), "digest")}


def head_of(vectors: Tensor, *, scale: float = 10.0, bias: float | None = None, **settings: Any) -> Head:
    vocabulary = Vocabulary(tuple(Label(str(n), str(n)) for n in range(len(vectors))))
    return build_head(LabelSetSpec("kind", vocabulary, **settings), bank_of(vectors), scale=scale, bias=bias)


def labels_of(head: Head, vectors: Tensor) -> tuple[Labels, list[bool]]:
    columns = head(seen(vectors))
    labels, abstained = columns["kind"], columns["kind_abstained"]
    assert isinstance(labels, Labels)
    assert isinstance(abstained, np.ndarray)
    assert abstained.dtype == np.bool_
    assert (labels.indices.dtype, labels.scores.dtype, labels.counts.dtype) == (np.int64, np.float32, np.int64)
    return labels, abstained.tolist()


def test_columns_are_known_before_any_encoder() -> None:
    first, second = head_columns(LabelSetSpec("kind", ANIMALS))
    assert (first.name, first.kind, second.name, second.kind) == ("kind", "labels", "kind_abstained", "flag")
    assert "5 of 4 labels" not in first.description


def test_the_right_label_comes_first(tmp_path: Path) -> None:
    encoder = HashEncoder()
    (head,) = prepare_heads([LabelSetSpec("kind", ANIMALS, ("a {}",), top_k=3)], encoder, cache_dir=tmp_path)
    labels, abstained = labels_of(head, torch.stack([encoder.vector("a hot dog"), encoder.vector("a cat")]))
    assert [labels.ids[i] for i in labels.indices[:, 0]] == ["food", "cat"]
    assert [labels.names[i] for i in labels.indices[:, 0]] == ["hot dog", "cat"]
    assert labels.counts.tolist() == [3, 3]
    assert abstained == [False, False]


def test_softmax_uses_the_encoder_s_scale_and_sigmoid_its_bias() -> None:
    bank, queries = torch.eye(3), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    softmax, _ = labels_of(head_of(bank, scale=2.0), queries)
    assert torch.allclose(torch.from_numpy(softmax.scores[0]), torch.softmax(torch.tensor([2.0, 0.0, 0.0]), 0))
    sigmoid, _ = labels_of(head_of(bank, scale=2.0, bias=-1.0), queries)
    assert torch.allclose(torch.from_numpy(sigmoid.scores[0]), torch.sigmoid(torch.tensor([1.0, -1.0, -1.0])))
    forced, _ = labels_of(head_of(bank, scale=2.0, bias=-1.0, family="softmax"), queries)
    assert np.allclose(forced.scores, softmax.scores)


def test_equal_labels_come_by_index() -> None:
    labels, abstained = labels_of(head_of(torch.ones(4, 2), top_k=3, min_margin=0.01), torch.ones(1, 2))
    assert labels.indices.tolist() == [[0, 1, 2]]
    assert labels.scores.tolist() == [[0.25] * 3]
    assert abstained == [True]


def test_one_label_never_lacks_a_margin() -> None:
    labels, abstained = labels_of(head_of(torch.ones(1, 2), min_margin=0.5), torch.ones(2, 2))
    assert labels.scores.tolist() == [[1.0]] * 2
    assert abstained == [False, False]


def test_the_margin_needs_no_second_label_in_the_column() -> None:
    labels, abstained = labels_of(
        head_of(torch.eye(2), top_k=1, min_margin=0.5), torch.tensor([[1.0, 0.9], [1.0, 0.0]])
    )
    assert labels.indices.shape == (2, 1)
    assert abstained == [True, False]


def test_labels_under_min_score_are_not_counted() -> None:
    labels, abstained = labels_of(
        head_of(torch.eye(3), min_score=0.4), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    )
    assert labels.counts.tolist() == [1, 0]
    assert abstained == [False, True]


def test_options_replace_scale_and_bias() -> None:
    queries = torch.randn(5, 8)
    bank = torch.randn(6, 8)
    plain, _ = labels_of(head_of(bank, scale=3.0), queries)
    optional, _ = labels_of(head_of(bank, scale=99.0, options={"scale": 3}), queries)
    assert np.allclose(plain.scores, optional.scores)
    sigmoid, _ = labels_of(head_of(bank, family="sigmoid", options={"bias": -2.0}), queries)
    assert sigmoid.scores.max() < 1.0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_gives_nearly_the_same_probabilities(precision: str) -> None:
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(50, 64, generator=generator), torch.randn(9, 64, generator=generator)
    full, _ = labels_of(head_of(bank), queries)
    low, _ = labels_of(head_of(bank, options={"precision": precision}), queries)
    assert np.allclose(full.scores, low.scores, rtol=0.05)


def test_an_empty_batch_gives_empty_columns() -> None:
    labels, abstained = labels_of(head_of(torch.eye(3)), torch.empty(0, 3))
    assert labels.indices.shape == (0, 3)
    assert abstained == []


def test_label_sets_share_a_pass_and_a_bank(tmp_path: Path) -> None:
    encoder = HashEncoder()
    specs = [LabelSetSpec("kind", ANIMALS), LabelSetSpec("strict", ANIMALS, min_score=0.9)]
    heads = prepare_heads(specs, encoder, cache_dir=tmp_path)
    assert len(encoder.asked) == 1
    embeddings = seen(torch.randn(3, 16))
    columns = {name: values for head in heads for name, values in head(embeddings).items()}
    assert list(columns) == ["kind", "kind_abstained", "strict", "strict_abstained"]
    assert heads[0].digest != heads[1].digest


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 4}, {"min_score": 0.1}, {"min_margin": 0.1}, {"family": "softmax"}, {"options": {"scale": 2.0}}],
)
def test_the_digest_changes_with_every_setting(settings: dict[str, Any]) -> None:
    assert head_of(torch.eye(3)).digest == head_of(torch.eye(3)).digest
    assert head_of(torch.eye(3)).digest != head_of(torch.eye(3), **settings).digest
    assert head_of(torch.eye(3)).digest != head_of(torch.eye(3), scale=11.0).digest


def test_specs_and_banks_travel() -> None:
    spec = LabelSetSpec("kind", ANIMALS, options={"scale": 2.0})
    assert pickle.loads(pickle.dumps(spec)) == spec
    bank = bank_of(torch.eye(4))["labels"]
    assert torch.equal(pickle.loads(pickle.dumps(bank)).vectors, bank.vectors)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "Kind"}, "'Kind' must be snake_case"),
        ({"name": "2kinds"}, "must be snake_case"),
        ({"top_k": 0}, "top_k is 0"),
        ({"family": "soft"}, "family 'soft' is not auto"),
        ({"head": "zero_shoot"}, "head 'zero_shoot' is not known; did you mean 'zero_shot'"),
        ({"options": {"sclae": 1}}, "no option 'sclae'; did you mean 'scale'"),
        ({"options": {"scale": -1}}, "scale is -1; it must be a number of at least"),
        ({"options": {"scale": "1"}}, "scale is '1'; it must be a number"),
        ({"options": {"precision": "int8"}}, "precision is 'int8'; it must be one of float32"),
        ({"family": "sigmoid"}, "no logit bias for a sigmoid"),
    ],
)
def test_what_a_label_set_may_not_say(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare_heads(
            [LabelSetSpec(**{"name": "kind", "vocabulary": ANIMALS, **settings})], HashEncoder(), cache_dir=tmp_path
        )


def test_two_label_sets_must_not_write_one_column(tmp_path: Path) -> None:
    specs = [LabelSetSpec("kind", ANIMALS), LabelSetSpec("kind_abstained", ANIMALS)]
    with pytest.raises(ConfigError, match="'kind' and 'kind_abstained' both write 'kind_abstained'"):
        prepare_heads(specs, HashEncoder(), cache_dir=tmp_path)


def test_every_head_documents_itself() -> None:
    assert all(head.__doc__ and head.OPTIONS is not Head.OPTIONS for head in HEADS.values())
