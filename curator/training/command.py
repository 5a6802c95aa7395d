"""Own the command line of the training: which step runs on which directory. The steps themselves live beside it."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import torch

from curator.training import corpus, release, sources
from curator.training.batches import NounPairs
from curator.training.captions import gather
from curator.training.emoji import read_table
from curator.training.evaluate import Judge, judge_held_out, judge_noto, judge_nouns, table_of
from curator.training.loop import Trainer
from curator.training.recipe import Recipe
from curator.wordnet.files import WordNet

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Fetch, draw, train, write and judge; `--evaluate DIR` only judges the weights in DIR."""
    parser = argparse.ArgumentParser(description="Train or judge the embedded encoder.")
    parser.add_argument("--work", type=Path, required=True, help="directory for downloads, thumbnails and progress")
    parser.add_argument("--output", type=Path, help="directory for the finished weights")
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="judge the weights in DIR and stop")
    parser.add_argument("--write-every", type=int, default=0, metavar="EPOCHS", help="write and judge on the way")
    parser.add_argument("--stop-after", type=int, metavar="EPOCH", help="stop there, to go on with another --epochs")
    for field in dataclasses.fields(Recipe):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Recipe)})
    torch.set_num_threads(1)
    if options.evaluate is None and options.output is None:
        parser.error("give --output to train, or --evaluate to judge")
    sources.fetch(options.work)
    corpus.build(options.work)
    if options.evaluate is not None:
        report(options.evaluate, options.work)
    else:
        train(options.work, options.output, recipe, options.write_every, options.stop_after)


def report(folder: Path, work: Path) -> None:
    """Log all figures of the weights in `folder`."""
    judge, pictures = Judge(folder), corpus.load(work)
    nouns = WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet").frequent(3000)
    scores = [*judge_noto(judge, work, read_table(work)), *judge_held_out(judge, pictures)]
    scores += judge_nouns(judge, pictures, nouns)
    log.info("figures of %s\n%s", folder, table_of(scores))


def train(work: Path, output: Path, recipe: Recipe, write_every: int = 0, stop_after: int | None = None) -> None:
    """Train to the last epoch, going on from `work/progress.pt` when it is there, and write the averaged weights."""
    words = corpus.load(work)
    concepts = gather(list(words.entities.values()))
    nouns = NounPairs(WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet"), concepts)
    trainer = Trainer(words, concepts, nouns, recipe)
    progress = work / "progress.pt"
    if progress.exists():
        trainer.resume(progress)
    log.info(
        "train recipe=%s pictures=%d concepts=%d nouns=%d",
        recipe,
        len(words.train.entities),
        len(concepts.words),
        len(nouns),
    )
    while trainer.epoch < min(recipe.epochs, stop_after or recipe.epochs):
        losses = trainer.run_epoch()
        log.info(
            "epoch done epoch=%d %s", trainer.epoch, " ".join(f"{name}={value:.3f}" for name, value in losses.items())
        )
        trainer.save(progress)
        if write_every and trainer.epoch % write_every == 0 and trainer.epoch < recipe.epochs:
            release.write(trainer.averaged.state, output)
            report(output, work)
    size = release.write(trainer.averaged.state, output)
    log.info("written folder=%s bytes=%d", output, size)
    report(output, work)
