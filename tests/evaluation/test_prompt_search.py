"""The climb over templates: it finds what is planted, never falls, and is the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from curator.errors import ConfigError
from curator.evaluation.prompt_search import asking, recombine, search

CLASSES = torch.nn.functional.normalize(torch.randn(6, 32, generator=torch.Generator().manual_seed(0)), dim=1)
TARGET = torch.arange(6).repeat(20)


def embed(template: str) -> Tensor:
    """Class embeddings that are the better, the more of the planted words the template has."""
    quality = 0.15 * sum(word in template.split() for word in ("a", "drawing", "of", "symbol"))
    seed = sum(template.encode())
    noise = torch.randn(6, 32, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(quality * CLASSES + 0.3 * torch.nn.functional.normalize(noise, dim=1), dim=1)


def images() -> Tensor:
    noise = torch.randn(len(TARGET), 32, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(CLASSES[TARGET] + 0.25 * noise, dim=1)


def test_the_climb_rises_and_is_seeded() -> None:
    found = search(("the {}",), embed, images(), TARGET, rounds=15, seed=1)
    assert found.score > found.start_score + 0.2
    scores = [score for _, score, _ in found.history]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (found.start_score, found.score)
    assert 1 <= len(found.templates) <= 8
    assert all(template.count("{}") == 1 for template in found.templates)
    assert search(("the {}",), embed, images(), TARGET, rounds=15, seed=1) == found


def test_the_size_is_bounded_and_no_round_changes_nothing() -> None:
    one = search(("the {}",), embed, images(), TARGET, rounds=5, most=1)
    assert len(one.templates) == 1
    none = search(("the {}", "a {}"), embed, images(), TARGET, rounds=0)
    assert (none.templates, none.score) == (("the {}", "a {}"), none.start_score)
    with pytest.raises(ConfigError, match="exactly one"):
        search(("the",), embed, images(), TARGET)


def test_a_proposer_of_ones_own() -> None:
    seen: list[Sequence[tuple[str, float]]] = []

    def propose(ranked: Sequence[tuple[str, float]], _: random.Random) -> list[str]:
        seen.append(ranked)
        return ["a drawing of {} symbol", "no place for a label"]

    found = search(("the {}",), embed, images(), TARGET, propose=propose, rounds=2)
    assert found.templates == ("a drawing of {} symbol",)
    assert [template for template, _ in seen[0]] == ["the {}"]
    assert seen[1][0][0] == "a drawing of {} symbol", "best first"


def test_a_language_model_is_asked_in_words_and_its_answer_read_with_care() -> None:
    asked = []

    def complete(question: str) -> str:
        asked.append(question)
        return 'Sure!\n- "a sign of {}"\n{} and {}\n* an icon: {}\n'

    propose = asking(complete, count=2)
    assert propose([("the {}", 0.5), ("a {}", 0.25)], random.Random(0)) == ["a sign of {}", "an icon: {}"]
    assert "50.00 % the {}" in asked[0]


def test_recombined_templates_are_templates() -> None:
    generator = random.Random(0)
    made = [
        each for _ in range(50) for each in recombine([("a photo of a {} on a table.", 1.0), ("{}", 0.5)], generator)
    ]
    assert all(each.count("{}") == 1 and each == " ".join(each.split()) for each in made)
    assert len(set(made)) > 20
