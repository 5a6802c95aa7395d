"""Captions: what is said about a picture, and of whom else it is true."""

from __future__ import annotations

import numpy as np
import pytest

from curator.training.captions import TEMPLATES, gather, kind_captions, view_captions
from curator.training.corpus import Entity
from tests.training.builders import entities


@pytest.fixture
def known() -> list[Entity]:
    return list(entities().values())


def test_words_that_two_entities_share_are_one_concept(known: list[Entity]) -> None:
    concepts = gather(known)
    square = concepts.words.index("square")
    holders = {concepts.codes[row] for row in np.flatnonzero(concepts.held[:, square])}
    assert holders == {entity.code for entity in known if entity.code.endswith("square")}


def test_every_caption_is_true_of_the_entity_it_was_drawn_for(known: list[Entity]) -> None:
    concepts = gather(known)
    drawn = view_captions(concepts, list(range(len(known))) * 50, np.random.default_rng(0))
    assert concepts.held[np.tile(np.arange(len(known)), 50), drawn.concepts].all()


def test_a_caption_is_a_template_around_its_concept_or_a_private_list(known: list[Entity]) -> None:
    concepts = gather(known)
    drawn = view_captions(concepts, [3] * 200, np.random.default_rng(1))
    for text, concept in zip(drawn.texts, drawn.concepts, strict=True):
        if concept < len(concepts.words):
            assert text in {template.format(concepts.words[concept]) for template in TEMPLATES}
        else:
            assert concept == concepts.private(3)
            assert any(name in text for name in known[3].names)


def test_private_concepts_belong_to_one_entity_each(known: list[Entity]) -> None:
    concepts = gather(known)
    private = concepts.held[:, len(concepts.words) :]
    assert np.array_equal(private, np.eye(len(known), dtype=bool))


def test_kind_captions_name_each_kind_once_while_there_are_enough(known: list[Entity]) -> None:
    concepts = gather(known)
    drawn = kind_captions(concepts, range(len(known)), 6, np.random.default_rng(0))
    assert sorted(concepts.words[number] for number in drawn.concepts) == sorted(
        ["red", "green", "blue", "yellow", "square", "bar"]
    )
    assert len(kind_captions(concepts, [0], 6, np.random.default_rng(0)).texts) == 6


def test_the_same_seed_gives_the_same_captions(known: list[Entity]) -> None:
    concepts = gather(known)
    first, second = (view_captions(concepts, [0, 1, 2], np.random.default_rng(5)) for _ in range(2))
    assert first.texts == second.texts
    assert np.array_equal(first.concepts, second.concepts)
