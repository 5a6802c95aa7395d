"""Own the command line of the decoder's training: what is read, where progress stays, when it is written and judged."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from curator.annotators import TextEncoder
from curator.cache import replacing
from curator.encoder import Encoder
from curator.errors import ConfigError
from curator.free.novic.model import END
from curator.free.novic.search import search
from curator.free.novic.weights import Trained, to_bytes
from curator.kernels.trie import Trie
from curator.labels.templates import template_set
from curator.labels.vocabulary import Label, Vocabulary
from curator.training.captions import TEMPLATES
from curator.training.decoder_loop import DecoderRecipe, DecoderTrainer
from curator.training.decoder_nouns import embedded_nouns
from curator.training.decoder_texts import Draws, Prompts, embed

log = logging.getLogger(__name__)

_JUDGED = 1000


class Writer(TextEncoder, Protocol):
    """What a training asks of the encoder: texts to vectors, texts to token ids, and token ids to pieces of text."""

    name: str

    def spell(self, texts: Sequence[str]) -> list[list[int]]: ...

    def pieces(self, ids: Sequence[int]) -> list[str]: ...


def main(arguments: list[str] | None = None) -> None:
    """Embed the prompts, train, judge on held-out prompts, and write the decoder."""
    parser = argparse.ArgumentParser(description="Train a NOVIC object decoder for an encoder and a list of nouns.")
    parser.add_argument("--encoder", default="embedded", help="as in the config's [encoder] name")
    parser.add_argument("--pretrained", help="as in the config's [encoder] pretrained")
    parser.add_argument("--nouns", default="embedded", help="vocabulary file; 'embedded': the shipped decoder's own")
    parser.add_argument("--data", type=Path, help="directory of the embedded encoder's training, for its nouns")
    parser.add_argument("--templates", default="captions", help="a template set, a file, or 'captions'")
    parser.add_argument("--device", default="auto", help="as in the config's [encoder] device")
    parser.add_argument("--work", type=Path, required=True, help="directory for embeddings of texts and progress")
    parser.add_argument("--output", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument(
        "--report-every", type=int, default=100, metavar="STEPS", help="save, judge and write this often"
    )
    for field in dataclasses.fields(DecoderRecipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = DecoderRecipe(**{f.name: getattr(options, f.name) for f in dataclasses.fields(DecoderRecipe)})
    torch.set_num_threads(1)
    vocabulary = _vocabulary(options.nouns, options.data)
    templates = tuple(dict.fromkeys(TEMPLATES)) if options.templates == "captions" else template_set(options.templates)
    encoder = Encoder.open(options.encoder, options.pretrained, precision="float32", device=options.device)
    device = encoder.device.type
    train(encoder, vocabulary, templates, recipe, options.work, options.output, options.report_every, device)


def _vocabulary(nouns: str, data: Path | None) -> Vocabulary:
    if nouns != "embedded":
        return Vocabulary.load(nouns)
    if data is None:
        raise ConfigError("--nouns embedded needs --data, the directory of the embedded encoder's training")
    return embedded_nouns(data)


def train(
    encoder: Writer,
    vocabulary: Vocabulary,
    templates: tuple[str, ...],
    recipe: DecoderRecipe,
    work: Path,
    output: Path,
    report_every: int,
    device: str = "cpu",
) -> Trained:
    """Train to the last step, going on from ``work/progress.pt`` when it is there; the decoder is at ``output``."""
    vocabulary, spelled, token_ids = spell(encoder, vocabulary)
    prompts = Prompts.make(vocabulary, templates, recipe.sets_per_noun, recipe.seed)
    vectors = embed(prompts, encoder, work / "texts")
    draws = Draws(prompts, recipe.set_share, recipe.seed)
    key = f"{encoder.digest} {prompts.digest()}"
    trainer = DecoderTrainer(vectors, draws, spelled, len(token_ids) + 1, recipe, key, device)
    progress = work / "progress.pt"
    if progress.exists():
        trainer.resume(progress)
    size = sum(weight.numel() for weight in trainer.model.parameters())
    log.info("train nouns=%d tokens=%d parameters=%d recipe=%s", len(spelled), len(token_ids) + 1, size, recipe)

    def trained() -> Trained:
        notes = {
            "encoder": encoder.name,
            "recipe": dataclasses.asdict(recipe),
            "templates": templates,
            "vocabulary": vocabulary.digest,
            "step": trainer.step,
        }
        pieces = tuple(encoder.pieces(token_ids))
        nouns = tuple(tuple(noun) for noun in spelled)
        return Trained(trainer.model, encoder.digest, vocabulary.names, nouns, tuple(token_ids), pieces, notes)

    output.parent.mkdir(parents=True, exist_ok=True)
    while trainer.step < recipe.steps:
        figures = trainer.run(report_every - trainer.step % report_every)
        figures["held_out_top1"] = judge(trainer, spelled, draws)
        log.info("step=%d of=%d %s", trainer.step, recipe.steps, " ".join(f"{k}={v:.3f}" for k, v in figures.items()))
        trainer.save(progress)
        with replacing(output) as part:
            part.write_bytes(to_bytes(trained()))
    result = trained()
    with replacing(output) as part:
        part.write_bytes(to_bytes(result))
    log.info("written file=%s bytes=%d", output, output.stat().st_size)
    return result


def spell(encoder: Writer, vocabulary: Vocabulary) -> tuple[Vocabulary, list[list[int]], list[int]]:
    """The vocabulary without nouns that are spelled like an earlier one, compact ids of each, and the tokens used.

    Compact ids begin at 1, in the order of the encoder's ids; 0 is the end.
    """
    first: dict[tuple[int, ...], Label] = {}
    for label, ids in zip(vocabulary.labels, encoder.spell(vocabulary.names), strict=True):
        if not ids:
            raise ConfigError(f"the encoder's tokenizer leaves nothing of the noun {label.name!r}")
        first.setdefault(tuple(ids), dataclasses.replace(label, parent=None))
    if len(first) < len(vocabulary):
        log.info("nouns spelled like others, left out: %d", len(vocabulary) - len(first))
    token_ids = sorted({number for ids in first for number in ids})
    compact = {number: place for place, number in enumerate(token_ids, start=1)}
    return Vocabulary(tuple(first.values())), [[compact[number] for number in ids] for ids in first], token_ids


def judge(trainer: DecoderTrainer, spelled: list[list[int]], draws: Draws) -> float:
    """Share of nouns that a single beam finds among all, from held-out prompts with the training's noise."""
    rows, nouns = draws.held_out()
    chosen = np.random.default_rng(0).permutation(len(rows))[:_JUDGED]
    vectors = trainer.noisy(rows[chosen], torch.Generator().manual_seed(0))
    found, _ = search(trainer.model, vectors, Trie.build(spelled, END).to(trainer.device), 1)
    return float((found[:, 0].cpu().numpy() == nouns[chosen]).mean())
