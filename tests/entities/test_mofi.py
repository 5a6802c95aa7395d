"""MOFI's image-to-entities against a naive version, and by hand: thresholds, meanings, captions of all kinds."""

from __future__ import annotations

import math
import random
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from curator.data import EntityTag
from curator.encoder import Encoder
from curator.entities import METHODS
from curator.entities.building import SourceEntity
from curator.entities.gazetteer import Gazetteer
from curator.entities.matching import Matcher
from curator.entities.mofi import Settings, default_threshold
from curator.entities.ner import open_ner
from curator.errors import ConfigError
from curator.kernels.vectors import l2_normalize
from curator.storage import open_storage
from tests.entities.fakes import HashDevice, images_like, make, means_of, named, spec_of

ENCODER = HashDevice()
ANIMALS = (
    SourceEntity("Q1", "bass", description="a fish", prior=3),
    SourceEntity("Q2", "bass guitar", (("bass", 1.0),), "an instrument", prior=1),
    SourceEntity("Q3", "guitar", description="an instrument"),
    SourceEntity("Q4", "🐶", (("dog", 1.0),)),
)


def annotate(
    path: Path, vectors: list[torch.Tensor], captions: list[str | None], **options: object
) -> dict[str, list[list[EntityTag]]]:
    spec = METHODS["mofi"].read(spec_of("mofi", **{"gazetteer": str(path), **options}), open_storage())
    return METHODS["mofi"].open(spec, means_of(ENCODER))(images_like(vectors, captions))  # type: ignore[return-value]


def text_vector(name: str, description: str = "") -> torch.Tensor:
    """l2(mean of "{name}" and "{name}, {description}")."""
    texts = [name, f"{name}, {description}"] if description else [name]
    return l2_normalize(torch.stack([ENCODER.vector(text) for text in texts]).mean(0))


def naive(
    gazetteer: Gazetteer, image: torch.Tensor, caption: str, threshold: float, beta: float, descriptions: bool
) -> list[EntityTag]:
    best: dict[str, EntityTag] = {}
    for start, end, alias in Matcher(gazetteer)(caption):
        scored = []
        for row, share in gazetteer.candidates(alias):
            entity = gazetteer.entity(row)
            text = text_vector(entity.name, entity.description if descriptions else "")
            cosine = float(l2_normalize(image) @ text)
            scored.append((share * math.exp(beta * cosine), cosine, entity))
        _, cosine, entity = max(scored, key=lambda one: one[0])
        if cosine >= threshold and entity.entity_id not in best:
            best[entity.entity_id] = EntityTag(entity.entity_id, entity.name, caption[start:end], "caption", cosine)
    return sorted(best.values(), key=lambda tag: -tag.score)


@pytest.mark.parametrize("descriptions", [False, True])
def test_it_is_the_naive_version(tmp_path: Path, descriptions: bool) -> None:
    rng = random.Random(0)
    words = ["bass", "guitar", "bass guitar", "dog", "🐶", "cat", "'s", ",", "שלום", "Bass"]
    entities = [*ANIMALS, SourceEntity("Q5", "cat", (("dog", 0.7), ("bass", 0.4)), "an animal")]
    gazetteer = make(tmp_path / "g", *entities)
    captions = [" ".join(rng.choices(words, k=rng.randint(0, 9))) for _ in range(40)]
    images = [l2_normalize(ENCODER.vector(f"image {row}") + 0.7 * text_vector("bass", "a fish")) for row in range(40)]
    options = {"threshold": 0.05, "beta": 4.0, "descriptions": descriptions}
    found = annotate(tmp_path / "g", images, list(captions), **options)["things"]
    assert any(found)
    for tags, image, caption in zip(found, images, captions, strict=True):
        expected = naive(gazetteer, image, caption, 0.05, 4.0, descriptions)
        assert [(tag.entity_id, tag.name, tag.mention, tag.source) for tag in tags] == [
            (tag.entity_id, tag.name, tag.mention, tag.source) for tag in expected
        ]
        assert [tag.score for tag in tags] == pytest.approx([tag.score for tag in expected], abs=1e-3)  # float16


def test_the_image_says_which_meaning_is_meant(tmp_path: Path) -> None:
    make(tmp_path / "g", *ANIMALS)
    fish, guitar = text_vector("bass"), text_vector("bass guitar")
    found = annotate(tmp_path / "g", [fish, guitar, guitar], ["a bass"] * 3, threshold=-1.0)["things"]
    assert [tags[0].entity_id for tags in found] == ["Q1", "Q2", "Q2"]
    prior_only = annotate(tmp_path / "g", [fish, guitar], ["a bass"] * 2, threshold=-1.0, beta=0.0)["things"]
    assert [tags[0].entity_id for tags in prior_only] == ["Q1", "Q1"]


def test_captions_of_all_kinds(tmp_path: Path) -> None:
    make(tmp_path / "g", *ANIMALS)
    dog = text_vector("🐶")
    captions = [None, "", "🐶's \u200f🐶", "Dog\u2019s bass guitar; DOG", "dog " * 250_000]
    found = annotate(tmp_path / "g", [dog] * 5, captions, threshold=0.9, mentions=True)
    assert [[tag.mention for tag in tags] for tags in found["things"]] == [[], [], ["🐶"], ["Dog"], ["dog"]]
    mentions = found["things_mentions"]
    assert [tag.mention for tag in mentions[3]] == ["Dog", "bass guitar", "DOG"]
    assert mentions[3][0].score == pytest.approx(1.0, abs=1e-3)
    assert len(mentions[4]) == 32  # max_mentions
    assert all(tag.source == "caption" for tags in mentions for tag in tags)


def test_the_best_one_needs_no_threshold(tmp_path: Path) -> None:
    make(tmp_path / "g", *ANIMALS)
    far = -text_vector("guitar", "an instrument")
    (tags,) = annotate(tmp_path / "g", [far], ["a dog with a guitar"], keep="best")["things"]
    assert [tag.entity_id for tag in tags] == ["Q4"]
    (none,) = annotate(tmp_path / "g", [far], ["a dog with a guitar"], keep="best", threshold=0.9)["things"]
    assert none == []


def test_what_is_tagged_depends_on_nothing_that_was_there_before(tmp_path: Path) -> None:
    make(tmp_path / "g", *ANIMALS)
    captions = ["dog and bass", "bass", "guitar", "dog", "bass guitar"]
    images = [ENCODER.vector(f"image {row}") for row in range(5)]

    def tags(cache: str, batches: list[list[int]]) -> dict[int, list[EntityTag]]:
        """The tags of each row, where rows come in these batches and the cache is as others left it."""
        spec = METHODS["mofi"].read(spec_of("mofi", gazetteer=str(tmp_path / "g"), threshold=-1.0), open_storage())
        tagger = METHODS["mofi"].open(spec, means_of(ENCODER, tmp_path / cache))
        found: dict[int, list[EntityTag]] = {}
        for rows in batches:
            values = tagger(images_like([images[row] for row in rows], [captions[row] for row in rows]))["things"]
            found.update(zip(rows, values, strict=True))  # type: ignore[arg-type]
        return found

    cold = tags("a", [[0, 1, 2, 3, 4]])
    assert tags("a", [[0, 1, 2, 3, 4]]) == cold
    assert tags("b", [[4], [2, 3], [1, 0]]) == cold
    assert tags("b", [[3, 0], [4, 1, 2]]) == cold


def test_names_of_a_recogniser_are_a_second_source(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": name} for name in ("Ada Lovelace", "the bass", "guitar")])
    pipeline.to_disk(tmp_path / "pipeline")
    make(tmp_path / "g", *ANIMALS, SourceEntity("Q9", "Ada", (("Ada Lovelace", 1.0),)))
    make(tmp_path / "h", *ANIMALS)
    caption, image = "Ada Lovelace with a guitar", ENCODER.vector("Ada Lovelace")
    options = {"threshold": 0.9, "mentions": True, "ner": f"spacy:{tmp_path / 'pipeline'}"}
    known = annotate(tmp_path / "g", [image], [caption], **options)["things_mentions"][0]
    assert [(tag.entity_id, tag.mention, tag.source) for tag in known] == [
        ("Q9", "Ada Lovelace", "caption"),
        ("Q3", "guitar", "caption"),
    ]
    found = annotate(tmp_path / "h", [image], [caption], **options)
    assert [(tag.entity_id, tag.name, tag.source) for tag in found["things"][0]] == [("", "Ada Lovelace", "ner")]
    assert found["things"][0][0].score == pytest.approx(1.0, abs=1e-3)


class Gliner:
    """What the package gliner has, as far as it is used; finds every word with a capital."""

    asked: ClassVar[list[tuple[list[str], list[str]]]] = []

    @classmethod
    def from_pretrained(cls, name: str) -> Gliner:
        if name != "names":
            raise OSError(f"no model {name}")
        return cls()

    def to(self, device: object) -> Gliner:
        return self

    def inference(self, texts: list[str], labels: list[str], *, batch_size: int) -> list[list[dict[str, object]]]:
        self.asked.append((texts, labels))
        words = [list(re.finditer(r"[A-Z]\w*", text)) for text in texts]
        return [[{"start": word.start(), "end": word.end(), "label": labels[0]} for word in own[::-1]] for own in words]


def test_a_gliner_is_such_a_recogniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gliner", SimpleNamespace(GLiNER=Gliner))
    make(tmp_path / "g", *ANIMALS)
    captions = ["Ada plays the bass with Grace", None, "", "a dog"]
    options = {"threshold": -1.0, "mentions": True, "ner": "gliner:names", "ner_labels": ["person"]}
    found = annotate(tmp_path / "g", [ENCODER.vector("x")] * 4, list(captions), **options)["things_mentions"]
    assert [[(tag.mention, tag.source) for tag in tags] for tags in found] == [
        [("bass", "caption"), ("Ada", "ner"), ("Grace", "ner")], [], [], [("dog", "caption")],
    ]  # fmt: skip
    assert Gliner.asked == [(["Ada plays the bass with Grace", "a dog"], ["person"])]
    with pytest.raises(ConfigError, match=r"gliner:other.*no model other"):
        annotate(tmp_path / "g", [], [], threshold=0.0, ner="gliner:other")


def test_a_gliner_of_random_weights(tmp_path: Path) -> None:
    gliner = pytest.importorskip("gliner")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ada", "lovelace", "with", "a", "guitar"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(tmp_path / "encoder")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes)
    transformers.BertModel(bert).save_pretrained(tmp_path / "encoder")
    settings = {"hidden_size": 16, "dropout": 0.0, "max_len": 32, "max_width": 4}
    config = gliner.GLiNERConfig(model_name=str(tmp_path / "encoder"), **settings)
    gliner.GLiNER.from_config(config).save_pretrained(tmp_path / "model")
    recognise = open_ner(f"gliner:{tmp_path / 'model'}", ["person", "thing"])
    caption = "Ada Lovelace with a guitar"
    spans = recognise([caption, "", caption])
    assert spans[1] == []
    assert spans[0] == spans[2] == sorted(spans[0])
    assert all(0 <= start < end <= len(caption) for start, end in spans[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 2}, "threshold.*from -1 to 1"),
        ({"keep": "most"}, "keep is 'most'; it must be one of all, best"),
        ({"mentions": "yes"}, "true or false"),
        ({"max_mentions": 0}, "whole number of at least 1"),
        ({"gazetteer": None}, "needs the option gazetteer"),
        ({"ner": "magic:x", "threshold": 0.1}, "spacy:PIPELINE or gliner:MODEL"),
        ({}, "no threshold is known for the encoder"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, options: dict[str, object], message: str) -> None:
    named(tmp_path / "g", "dog")
    with pytest.raises(ConfigError, match=message):
        annotate(tmp_path / "g", [], [], **options)


def test_a_gazetteer_that_changed_is_refused(tmp_path: Path) -> None:
    named(tmp_path / "g", "dog")
    spec = METHODS["mofi"].read(spec_of("mofi", gazetteer=str(tmp_path / "g"), threshold=0.1), open_storage())
    named(tmp_path / "g", "cat")
    with pytest.raises(ConfigError, match="changed since the run began"):
        METHODS["mofi"].open(spec, means_of(ENCODER))


def test_the_embedded_encoder_is_calibrated() -> None:
    digest = Encoder.open("embedded", device="cpu").digest
    for options in ({}, {"descriptions": True}):
        spec = spec_of("mofi", **options)
        assert default_threshold(spec, digest, Settings.of(spec)) is not None
