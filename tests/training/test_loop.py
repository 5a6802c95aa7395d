"""The training loop on painted pictures: it learns, it repeats itself, it goes on where it stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from curator.errors import ConfigError
from curator.training.batches import NounPairs, Schedule
from curator.training.captions import gather
from curator.training.lanes import Lanes
from curator.training.loop import Trainer
from curator.training.recipe import Recipe
from curator.training.release import write
from curator.training.towers import CaptionTokens, build, embed_texts
from tests.training.builders import corpus

RECIPE = Recipe(epochs=3, emoji_passes=2, batch_entities=4, kind_captions=4, text_pairs=2, learning_rate=1e-3)


class TwoNouns:
    """Stands in for WordNet's frequent nouns."""

    nouns = frozenset({"dog", "house"})

    def frequent(self, count: int) -> list[str]:
        return sorted(self.nouns)[:count]

    def hypernyms(self, noun: str, depth: int = 4) -> list[str]:
        return [f"kind of {noun}"]

    def senses(self, noun: str) -> list[object]:
        @dataclasses.dataclass
        class Sense:
            words: tuple[str, ...]
            gloss: str

        return [Sense((noun,), f"what a {noun} is")] if noun in self.nouns else []


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(recipe: Recipe = RECIPE) -> Trainer:
    pictures = corpus()
    concepts = gather(list(pictures.entities.values()))
    return Trainer(pictures, concepts, NounPairs(TwoNouns(), concepts), recipe)  # type: ignore[arg-type]


def test_a_few_steps_lower_the_loss() -> None:
    training = trainer()
    first = training.run_epoch()
    while training.epoch < RECIPE.epochs:
        last = training.run_epoch()
    assert last["total"] < first["total"]


def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=2, emoji_passes=1)
    whole = trainer(recipe)
    whole.run_epoch()
    whole.save(tmp_path / "progress.pt")
    whole.run_epoch()
    resumed = trainer(recipe)
    resumed.resume(tmp_path / "progress.pt")
    resumed.run_epoch()
    for name, value in whole.averaged.state.items():
        assert torch.equal(value, resumed.averaged.state[name]), name
    with pytest.raises(ValueError, match="another recipe"):
        trainer(dataclasses.replace(recipe, seed=1)).resume(tmp_path / "progress.pt")


def test_an_epoch_shows_every_entity_in_two_different_designs() -> None:
    pictures = corpus()
    schedule = Schedule(pictures, gather(list(pictures.entities.values())), RECIPE)
    steps = list(schedule.epoch(0))
    assert len(steps) == len(schedule) == 4
    assert np.bincount(np.concatenate([step.entities for step in steps])).tolist() == [4] * 8
    for step in steps:
        assert (step.rows[::2] != step.rows[1::2]).all()
        assert [pictures.train.entities[row] for row in step.rows[::2]] == [
            pictures.train.entities[row] for row in step.rows[1::2]
        ]


def test_two_lanes_give_the_gradients_of_their_halves() -> None:
    torch.manual_seed(0)
    model = build()
    lanes = Lanes(model, 2)
    lanes.train()
    tokens = CaptionTokens()(["a dog", "a house", "pizza", "two red bars"], 16)
    thumbnails = torch.from_numpy(np.asarray(corpus().train.thumbnails[:4]))
    images, texts = lanes.forward(thumbnails, torch.ones(4, dtype=torch.bool), tokens, 1)
    direction = torch.randn(texts.shape, generator=torch.Generator().manual_seed(0))
    (images.sum() + (texts * direction).sum()).backward()
    lanes.backward(images, texts)
    ours = model.token_embedding.weight.grad.clone()
    model.zero_grad()
    (embed_texts(model, tokens) * direction).sum().backward()
    assert torch.allclose(ours, model.token_embedding.weight.grad, atol=1e-5)


def test_a_short_context_gives_the_vectors_of_the_whole_one() -> None:
    torch.manual_seed(0)
    model = build().eval()
    tokens = CaptionTokens()
    texts = ["a picture of pizza", "dog"]
    with torch.no_grad():
        short = embed_texts(model, tokens(texts, 16))
        whole = model.encode_text(tokens(texts, 32), normalize=True)
    assert torch.allclose(short, whole, atol=1e-5)


def test_an_overlong_caption_keeps_its_end_mark() -> None:
    tokens = CaptionTokens()(["word " * 40, "dog"], 16)
    assert tokens.shape == (2, 16)
    assert tokens[0, -1] == tokens.max()


def test_weights_that_do_not_fit_float16_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16"):
        write({"weight": torch.tensor([1e6])}, tmp_path)
