from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from curator.errors import ConfigError
from curator.free.novic.search import search
from curator.free.novic.weights import Trained, from_bytes, to_bytes
from curator.kernels.trie import Trie
from curator.labels.vocabulary import Vocabulary
from curator.training.decoder_command import judge, spell, train
from curator.training.decoder_loop import DecoderRecipe, DecoderTrainer
from curator.training.decoder_nouns import choose
from curator.training.decoder_texts import Draws, Prompts, embed
from curator.training.emoji import Emoji
from tests.free.fakes import Writer

NOUNS = Vocabulary.load(
    [{"name": "car", "aliases": ["auto", "motor car"]}, "cat", "dog house", "dog", "red car", "bee", "sea lion"]
)
TEMPLATES = ("{}", "a photo of a {}.", "a drawing of {}", "the {}")
SMALL = DecoderRecipe(
    steps=12, batch=32, width=32, layers=2, feedforward=16, sets_per_noun=4, set_share=0.3, dropout=0.1, lanes=2
)


def trainer(folder: Path, recipe: DecoderRecipe = SMALL, encoder: Writer | None = None) -> DecoderTrainer:
    writer = encoder or Writer()
    _, spelled, tokens = spell(writer, NOUNS)
    prompts = Prompts.make(NOUNS, TEMPLATES, recipe.sets_per_noun, recipe.seed)
    vectors = embed(prompts, writer, folder)
    key = f"{writer.digest} {prompts.digest()}"
    return DecoderTrainer(vectors, Draws(prompts, recipe.set_share, 0), spelled, len(tokens) + 1, recipe, key)


def same(first: DecoderTrainer, second: DecoderTrainer) -> bool:
    pairs = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_resumed_training_equals_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    whole = trainer(tmp_path)
    whole.run(12)
    broken = trainer(tmp_path)
    broken.run(5)
    broken.save(tmp_path / "progress.pt")
    fresh = trainer(tmp_path)
    assert not same(fresh, broken)
    fresh.resume(tmp_path / "progress.pt")
    fresh.run(100)  # no further than the recipe's last step
    assert fresh.step == 12
    assert same(whole, fresh)


def test_a_training_that_dies_on_the_way_ends_with_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(name: str) -> bytes:
        train(Writer(), NOUNS, TEMPLATES, SMALL, tmp_path / name, tmp_path / f"{name}.safetensors", 3)
        return (tmp_path / f"{name}.safetensors").read_bytes()

    run, steps = DecoderTrainer.run, list[int]()

    def dying(self: DecoderTrainer, count: int) -> dict[str, float]:
        steps.append(self.step)
        if steps.count(6) == 1 and self.step == 6:
            raise KeyboardInterrupt
        return run(self, count)

    whole = ended("whole")
    monkeypatch.setattr(DecoderTrainer, "run", dying)
    with pytest.raises(KeyboardInterrupt):
        ended("broken")
    assert (tmp_path / "broken.safetensors").is_file()  # what there is so far can be tried
    assert ended("broken") == whole
    assert steps == [0, 3, 6, 6, 9]


def test_lanes_change_nothing_and_the_seed_does(tmp_path: Path) -> None:
    runs = []
    for recipe in (SMALL, dataclasses.replace(SMALL, lanes=1), dataclasses.replace(SMALL, seed=1)):
        runs.append(trainer(tmp_path / str(len(runs)), recipe))
        runs[-1].run(3)
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_progress_of_another_recipe_or_encoder_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path / "a").save(tmp_path / "progress.pt")
    trainer(tmp_path / "b", dataclasses.replace(SMALL, steps=99)).resume(tmp_path / "progress.pt")
    for other in (
        trainer(tmp_path / "c", dataclasses.replace(SMALL, deviation=1.0)),
        trainer(tmp_path / "d", encoder=Writer(digest="another")),
    ):
        with pytest.raises(ConfigError, match="another recipe, encoder or nouns"):
            other.resume(tmp_path / "progress.pt")


def test_texts_are_embedded_once_and_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.training.decoder_texts._BLOCK", 16)
    prompts = Prompts.make(NOUNS, TEMPLATES, 4, 0)
    whole = np.array(embed(prompts, Writer(), tmp_path / "whole"))
    assert whole.shape == (9 * 4 + 7 * 4, 32)
    dying = Writer(dies_after=3)
    with pytest.raises(RuntimeError):
        embed(prompts, dying, tmp_path / "broken")
    second = Writer()
    assert np.array_equal(embed(prompts, second, tmp_path / "broken"), whole)
    assert sum(map(len, second.asked)) == len(whole) - 3 * 16
    third = Writer()
    embed(prompts, third, tmp_path / "broken")
    assert third.asked == []
    np.testing.assert_allclose(whole[0], Writer().vector("car"), atol=1e-3)


def test_prompts_say_what_they_stand_for() -> None:
    prompts = Prompts.make(NOUNS, TEMPLATES, 10, 0)
    draws = Draws(prompts, 0.5, 0)
    rows, nouns = draws.step(3, 500)
    assert np.array_equal(rows, draws.step(3, 500)[0])
    assert not np.array_equal(rows, draws.step(4, 500)[0])
    sizes = set()
    for row, noun in zip(rows.tolist(), nouns.tolist(), strict=True):
        label = NOUNS.labels[noun]
        text = prompts.text(row)
        assert any(form in text for form in (label.name, *label.aliases))
        sizes.add(text.count(" and "))
    assert sizes == {0, 1, 2}
    assert set(nouns.tolist()) == set(range(len(NOUNS)))


def test_held_out_prompts_are_never_drawn() -> None:
    prompts = Prompts.make(NOUNS, TEMPLATES, 0, 0)
    draws = Draws(prompts, 0.5, 0)
    held, nouns = draws.held_out()
    assert [
        prompts.text(row) in {t.format(NOUNS.names[n]) for t in TEMPLATES} for row, n in zip(held, nouns, strict=True)
    ]
    drawn = set(np.concatenate([draws.step(step, 200)[0] for step in range(20)]).tolist())
    assert drawn == set(range(len(prompts))) - set(held.tolist())


def test_nouns_come_equally_often_however_many_forms_they_have() -> None:
    draws = Draws(Prompts.make(NOUNS, TEMPLATES, 0, 0), 0.0, 0)
    counts = np.bincount(draws.step(0, 7000)[1], minlength=7)
    assert counts.min() > 850
    assert counts.max() < 1150


def test_twenty_nouns_are_learnt_by_heart_and_the_file_decodes_them(tmp_path: Path) -> None:
    animals = ("ant", "bear", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
    houses = ("hill", "den", "barn", "yard", "weir", "hole", "veld", "coop", "reed", "oak")
    nouns = Vocabulary.load([*animals, *(f"{one} {two}" for one, two in zip(animals, houses, strict=True))])
    recipe = dataclasses.replace(
        SMALL, steps=120, batch=64, dropout=0.0, deviation=0.5, set_share=0.1, learning_rate=1e-2, lanes=1
    )
    writer = Writer()
    trained = train(writer, nouns, TEMPLATES, recipe, tmp_path / "work", tmp_path / "decoder.safetensors", 60)
    read = from_bytes((tmp_path / "decoder.safetensors").read_bytes(), "decoder.safetensors")
    assert read.nouns == trained.nouns == nouns.names
    assert read.notes["step"] == 120
    found, scores = search(read.model, writer.embed_text(list(nouns.names)), Trie.build(read.spelled, 0), 3)
    assert found[:, 0].tolist() == list(range(20))
    assert (scores[:, 0] > -1.0).all()
    assert read.text(read.spelled[12]) == nouns.names[12]
    read.require(writer.digest, "decoder.safetensors")
    with pytest.raises(ConfigError, match="inverts the encoder"):
        read.require("another", "decoder.safetensors")


def test_judging_counts_only_exact_nouns(tmp_path: Path) -> None:
    untrained = trainer(tmp_path)
    _, spelled, _ = spell(Writer(), NOUNS)
    prompts = Prompts.make(NOUNS, TEMPLATES, 4, 0)
    assert 0 <= judge(untrained, spelled, Draws(prompts, 0.3, 0)) <= 1
    untrained.noisy = lambda rows, generator: torch.zeros(len(rows), 32)  # type: ignore[method-assign]
    assert judge(untrained, spelled, Draws(prompts, 0.3, 0)) == pytest.approx(1 / 7)


def test_nouns_spelled_alike_are_one() -> None:
    vocabulary, spelled, tokens = spell(Writer(), Vocabulary.load(["Turkey", "turkey", "sea lion"]))
    assert vocabulary.names == ("Turkey", "sea lion")
    assert [len(ids) for ids in spelled] == [1, 2]
    assert sorted({number for ids in spelled for number in ids}) == list(range(1, len(tokens) + 1))


def test_a_file_that_is_no_decoder_is_refused(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    _, spelled, tokens = spell(Writer(), NOUNS)
    nouns = tuple(tuple(ids) for ids in spelled)
    pieces = tuple(Writer().pieces(tokens))
    content = to_bytes(Trained(made.model, "fake", NOUNS.names, nouns, tuple(tokens), pieces, {}))
    assert from_bytes(content, "x").nouns == NOUNS.names
    for broken in (b"", b"nothing of the kind", content[:-5], content.replace(b"curator-novic-1", b"curator-novic-9")):
        with pytest.raises(ConfigError, match="decoder x cannot be used"):
            from_bytes(broken, "x")


def test_embedded_nouns_are_emoji_names_then_the_most_frequent_words() -> None:
    def emoji(name: str, *names: str) -> Emoji:
        return Emoji("1f600", name, names[0], (name, *names), (), "objects", "x", None)

    table = [emoji("black cat", "cat", "tom"), emoji("dog face", "dog", "tom"), emoji("bee", "honeybee")]
    uses = Counter({"cat": 9, "house": 5, "ox": 8, "quickly": 7, "tree": 5, "barn": 4})
    chosen = choose(table, uses, {"cat", "house", "ox", "tree", "barn"}, 5)
    assert [(label.name, label.aliases) for label in chosen.labels] == [
        ("black cat", ("cat",)), ("dog face", ("dog",)), ("bee", ("honeybee",)), ("house", ()), ("tree", ()),
    ]  # fmt: skip


@pytest.mark.gpu
def test_training_runs_on_a_gpu_and_its_file_is_read_on_the_cpu(tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, bfloat16=1)
    train(Writer(), NOUNS, TEMPLATES, recipe, tmp_path / "work", tmp_path / "decoder.safetensors", 6, "cuda")
    read = from_bytes((tmp_path / "decoder.safetensors").read_bytes(), "decoder.safetensors")
    assert next(read.model.parameters()).device.type == "cpu"
