"""Nearest words, with and without votes of captions; proposals that are verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from curator.data import Labels, TextBank
from curator.errors import ConfigError
from curator.free.verify import Verify
from curator.free.words import Words
from curator.kernels.vectors import l2_normalize
from curator.storage import MemoryStorage, open_storage
from tests.free.fakes import FakeBank, Speaker, embeddings, means, spec
from tests.free.test_cased import rows_of

WORDS = ("dog", "cat", "boat", "sea", "park", "tree")


def bank(encoder: Speaker, words: tuple[str, ...] = WORDS) -> TextBank:
    return TextBank(words, words, encoder.embed_text(words), "digest")


def test_the_nearest_words_by_their_probability_among_all() -> None:
    encoder = Speaker()
    annotator = Words(spec("words", top_k=2), means(encoder), bank(encoder), None)
    image = l2_normalize(encoder.vector("boat")[None] + 0.5 * encoder.vector("sea")[None])
    found = annotator(embeddings(image))["free"]
    assert isinstance(found, Labels)
    expected = (encoder.logit_scale * image @ encoder.embed_text(WORDS).T).softmax(dim=1)[0]
    row = rows_of(found)[0]
    assert [word for word, _ in row] == ["boat", "sea"]
    assert [score for _, score in row] == pytest.approx([expected[2].item(), expected[3].item()], abs=1e-5)


def test_words_that_near_captions_share_come_first() -> None:
    encoder = Speaker(same={"a sea": "sea", "the sea": "sea", "seaside": "sea"})
    memory = FakeBank(
        ["a sea", "the sea", "seaside", "a cat"], encoder.embed_text(["a sea", "the sea", "seaside", "cat"])
    )
    image = l2_normalize(encoder.vector("boat")[None] + 0.8 * encoder.vector("sea")[None])
    options = {"bank": "b", "neighbours": 3, "mapped": 1, "top_k": 3}
    found = Words(spec("words", **options), means(encoder), bank(encoder), memory)(embeddings(image))["free"]
    assert isinstance(found, Labels)
    (first, share), (second, own), (_, nothing) = rows_of(found)[0]
    assert (first, second) == ("sea", "boat")
    assert (share, own, nothing) == pytest.approx((0.75, 0.25, 0.0))


def test_a_list_takes_the_place_of_the_file_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# mine\ndog\n\nred  boat\ndog\n")
    read = Words.read(spec("words", words=str(path)), open_storage())
    assert read.options["words"] == ["dog", "red boat"]
    encoder = Speaker()
    found = Words.open(read, means(encoder, str(tmp_path)))(embeddings(encoder.embed_text(["a photo of a red boat."])))
    assert isinstance(found["free"], Labels)
    assert rows_of(found["free"])[0][0][0] == "red boat"


def test_wordnets_words_shape_the_digest() -> None:
    read = Words.read(spec("words"), MemoryStorage())
    assert len(read.options["words_digest"]) == 64
    assert (
        read.options["words_digest"] != Words.read(spec("words", words=["a"]), MemoryStorage()).options["words_digest"]
    )
    with pytest.raises(ConfigError, match="words nowhere does not exist"):
        Words.read(spec("words", words="nowhere"), open_storage())


def verify(encoder: Speaker, **options: object) -> Verify:
    return Verify(spec("verify", **options), means(encoder), bank(encoder))


def test_what_does_not_beat_the_distractors_is_not_kept() -> None:
    encoder = Speaker()
    images = l2_normalize(encoder.embed_text(["kite", "kite", "dog"]) + 0.1 * encoder.embed_text(["sea"] * 3))
    metadata = [json.dumps({"tags": tags}).encode() for tags in (["kite", "junk"], [], ["Dog"])]
    found = verify(encoder, texts=["json.tags", "caption"])(embeddings(images, ["kite", None, "rubbish"], metadata))
    assert found["free_proposed"] == [["kite", "junk"], [], ["Dog", "rubbish"]]
    labels = found["free"]
    assert isinstance(labels, Labels)
    # "Dog" is among the distractors in other letters, and does not compete with itself.
    same = Speaker(same={"Dog": "dog"})
    again = verify(same, texts=["json.tags", "caption"])(embeddings(images, ["kite", None, "rubbish"], metadata))[
        "free"
    ]
    assert isinstance(again, Labels)
    assert [[text for text, _ in row] for row in rows_of(labels)] == [["kite"], [], []]
    assert [[text for text, _ in row] for row in rows_of(again)] == [["kite"], [], ["Dog"]]
    logits = encoder.logit_scale * images[0] @ encoder.embed_text(["kite", *WORDS]).T
    assert rows_of(labels)[0][0][1] == pytest.approx(logits.softmax(0)[0].item(), abs=1e-5)


def test_a_text_of_many_is_split_and_ranked() -> None:
    encoder = Speaker()
    images = l2_normalize(encoder.embed_text(["kite"]) + 0.9 * encoder.embed_text(["sky"]))
    found = verify(encoder, split=",", wins=0.0, top_k=2)(embeddings(images, ["sky , kite,, junk, kite"]))
    assert found["free_proposed"] == [["sky", "kite", "junk"]]
    assert isinstance(found["free"], Labels)
    assert [text for text, _ in rows_of(found["free"])[0]] == ["kite", "sky"]


def test_no_proposals_at_all_give_no_labels() -> None:
    found = verify(Speaker())(embeddings(torch.eye(32)[:2]))
    assert isinstance(found["free"], Labels)
    assert found["free"].counts.tolist() == [0, 0]
    assert found["free_proposed"] == [[], []]


def test_a_source_must_be_one() -> None:
    with pytest.raises(ConfigError, match=r"texts names 'tags'; a source is caption, or json\.FIELD"):
        Verify.read(spec("verify", texts=["tags"]), MemoryStorage())
