"""Text banks: equal to open_clip's classifier, cached by what they are made of, and safe between processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from curator.encoder import Encoder
from curator.errors import ConfigError
from curator.kernels.vectors import l2_normalize
from curator.labels.banks import bank_digest, build_bank, prompts_of
from curator.labels.templates import template_set
from curator.labels.vocabulary import Label, Vocabulary
from tests.builders import make_image
from tests.labels.fakes import FastEncoder, HashEncoder

ANIMALS = Vocabulary.load(["cat", "dog", "hot dog"])


@pytest.mark.parametrize("templates", ["simple", "photo", "plain"])
def test_equals_open_clip_s_classifier(tiny_encoder_dir: Path, tmp_path: Path, templates: str) -> None:
    name = f"local-dir:{tiny_encoder_dir}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    names = ["tench", "great white shark", "goldfish", "a {strange} one"]
    functions = [lambda name, t=template: t.replace("{}", name) for template in template_set(templates)]
    expected = open_clip.build_zero_shot_classifier(model.eval(), open_clip.get_tokenizer(name), names, functions)
    images = [make_image(seed=seed) for seed in range(3)]
    with torch.no_grad():
        logits = model.encode_image(torch.stack([transform(image) for image in images]), normalize=True) @ expected

    encoder = Encoder.open(name, device="cpu", precision="float32")
    bank = build_bank(Vocabulary.load(names), template_set(templates), encoder, cache_dir=tmp_path)
    assert bank.names == tuple(names)
    assert torch.allclose(bank.vectors, expected.T, atol=1e-5)
    assert torch.allclose(encoder.embed(images) @ bank.vectors.T, logits, atol=1e-5)


def test_a_class_is_the_mean_over_aliases_and_templates(tmp_path: Path) -> None:
    label = Label("c", "car", aliases=("auto",))
    encoder = HashEncoder()
    bank = build_bank(Vocabulary((label,)), ("a {}", "the {}"), encoder, cache_dir=tmp_path)
    prompts = ["a car", "the car", "a auto", "the auto"]
    assert list(prompts_of(label, ("a {}", "the {}"))) == prompts
    expected = l2_normalize(torch.stack([encoder.vector(prompt) for prompt in prompts]).mean(dim=0))
    assert torch.allclose(bank.vectors[0], expected, atol=1e-6)


def test_own_templates_replace_those_of_the_set(tmp_path: Path) -> None:
    encoder = HashEncoder()
    build_bank(
        Vocabulary.load([{"name": "cat", "templates": ["my {}"]}, "dog"]), ("a {}",), encoder, cache_dir=tmp_path
    )
    assert encoder.asked == [["my cat", "a dog"]]


def test_a_second_build_encodes_nothing(tmp_path: Path) -> None:
    first, second = HashEncoder(), HashEncoder()
    built = build_bank(ANIMALS, ("a {}",), first, cache_dir=tmp_path)
    loaded = build_bank(ANIMALS, ("a {}",), second, cache_dir=tmp_path)
    assert second.asked == []
    assert torch.equal(built.vectors, loaded.vectors)
    assert (built.ids, built.names, built.digest) == (loaded.ids, loaded.names, loaded.digest)
    assert sorted(path.suffix for path in (tmp_path / "banks").iterdir()) in (
        [".lock", ".safetensors"],
        [".safetensors"],
    )


@pytest.mark.parametrize(
    "other",
    [
        {"vocabulary": Vocabulary.load(["cat", "dog"])},
        {"vocabulary": Vocabulary.load(["dog", "cat", "hot dog"])},
        {"vocabulary": Vocabulary.load([{"name": "cat", "aliases": ["kitty"]}, "dog", "hot dog"])},
        {"templates": ("the {}",)},
        {"templates": ("a {}", "the {}")},
        {"encoder": HashEncoder(digest="other")},
        {"encoder": HashEncoder(precision="bfloat16")},
    ],
)
def test_the_digest_is_of_all_that_the_bank_is_made_of(other: dict[str, Any]) -> None:
    stated = {"vocabulary": ANIMALS, "templates": ("a {}",), "encoder": HashEncoder()}
    assert bank_digest(**stated) == bank_digest(**{**stated, "encoder": HashEncoder()})
    assert bank_digest(**stated) != bank_digest(**{**stated, **other})


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_file_is_built_again(tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    bank = build_bank(ANIMALS, ("a {}",), HashEncoder(), cache_dir=tmp_path)
    path = tmp_path / "banks" / f"{bank.digest}.safetensors"
    path.write_bytes(path.read_bytes()[:-4] if damage is None else damage)
    again = HashEncoder()
    assert torch.equal(build_bank(ANIMALS, ("a {}",), again, cache_dir=tmp_path).vectors, bank.vectors)
    assert again.asked
    assert "damaged" in caplog.text


def test_those_who_need_the_same_bank_build_it_once(tmp_path: Path) -> None:
    encoder, banks = HashEncoder(), []

    def need() -> None:
        banks.append(build_bank(ANIMALS, ("a {}",), encoder, cache_dir=tmp_path))

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(encoder.asked) == 1
    assert all(torch.equal(bank.vectors, banks[0].vectors) for bank in banks)
    assert len(banks) == 4


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    bank = build_bank(ANIMALS, ("a {}",), HashEncoder(), cache_dir=tmp_path / "file")
    assert bank.vectors.shape == (3, 16)
    assert "cannot be kept" in caplog.text


def test_the_user_s_cache_is_the_default() -> None:
    bank = build_bank(Vocabulary.load(["only here"]), ("{}",), HashEncoder())
    assert (Path(os.environ["XDG_CACHE_HOME"]) / "curator" / "banks" / f"{bank.digest}.safetensors").is_file()


@pytest.mark.parametrize(
    ("label", "templates", "message"),
    [
        (Label("a", "a"), ("no place",), "exactly one {}"),
        (Label("a", "a"), (), "holds no template"),
        (Label("a", "a", templates=("{} {}",)), ("{}",), "label 'a': template"),
    ],
)
def test_bad_templates_are_named(tmp_path: Path, label: Label, templates: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_bank(Vocabulary((label,)), templates, HashEncoder(), cache_dir=tmp_path)


def test_100_000_labels_are_encoded_in_bounded_blocks(tmp_path: Path) -> None:
    encoder = FastEncoder(dim=8)
    vocabulary = Vocabulary(tuple(Label(str(n), f"label {n}") for n in range(100_000)))
    bank = build_bank(vocabulary, ("a {}", "the {}"), encoder, cache_dir=tmp_path)
    assert bank.vectors.shape == (100_000, 8)
    assert torch.allclose(bank.vectors.norm(dim=1), torch.ones(100_000), atol=1e-5)
    assert max(map(len, encoder.asked)) <= 16_384
    assert [text for block in encoder.asked for text in block][-2:] == ["a label 99999", "the label 99999"]
