"""Precision of entity tags where half of the captions belong to other pictures: verified tags against bare mentions.

    python tests/benchmarks/entities_precision.py --run OUTPUT --wordnet DICT [--run OUTPUT ...] [--threshold T]
        [--descriptions] [--candidates 4]

Truth without an annotator: a random half of a run's pictures get the caption of another picture, by a derangement. A
mention is right where the picture's own caption mentions the same entity, wrong otherwise. Precision of all mentions
is therefore near one half; recall is the share of the right mentions that is kept. Reads the embeddings of finished
runs (`curator label`); the texts are encoded here.

Then, of pictures whose whole caption is one ambiguous noun: how often the meaning chosen is one that a person takes it
for (``meanings.json``: 108 nouns of openclipart and emoji, read by their captions), beside the likeliest meaning.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import torch

from curator.annotators import AnnotatorSpec, Means, TextVectors
from curator.config import Config
from curator.curation.entities import captioned
from curator.curation.relabel import encoder_of_run
from curator.data import Embeddings
from curator.encoder import Encoder
from curator.entities.building import build
from curator.entities.mofi import MofiAnnotator
from curator.entities.rules import Rules, stop_words
from curator.entities.sources import read_wordnet
from curator.storage import open_storage


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", action="append", required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--descriptions", action="store_true")
    parser.add_argument("--candidates", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "wordnet.arrow"
        build(read_wordnet(args.wordnet), path, Rules(stop_words()), {"kind": "wordnet"})
        for run in args.run:
            measure(run, path, args)


def measure(run: str, path: Path, args: argparse.Namespace) -> None:
    encoder = encoder_of_run(Config.model_validate({"input": {"run": run}}), open_storage())
    images, own = captioned(run, open_storage(), args.rows)
    options = {
        "gazetteer": str(path),
        "mentions": True,
        "descriptions": args.descriptions,
        "most_candidates": args.candidates,
    }
    if args.threshold is not None:
        options["threshold"] = args.threshold
    spec = MofiAnnotator.read(AnnotatorSpec("e", "mofi", options), open_storage())
    tagger = MofiAnnotator.open(spec, Means(encoder, TextVectors(encoder), open_storage(), None, 1))
    rng = random.Random(args.seed)
    chosen = sorted(rng.sample(range(len(own)), len(own) // 2))
    given = list(own)
    for place, row in enumerate(chosen):  # a rotation by a third of them: nobody keeps his own
        given[row] = own[chosen[(place + len(chosen) // 3) % len(chosen)]]
    truth = tags_of(tagger, images, own)["e_mentions"]
    found = tags_of(tagger, images, given)
    print(f"{run}: {len(own)} pictures, {len(chosen)} with another's caption, encoder {encoder.name}")
    right_of_all = 0
    for column, what in (("e_mentions", "unverified mentions"), ("e", "verified tags")):
        right = wrong = 0
        for tags, known in zip(found[column], truth, strict=True):
            ids = {tag.entity_id for tag in known}
            named = {tag.name for tag in known}
            for entity, name in {(tag.entity_id, tag.name) for tag in tags}:
                if entity in ids or name in named:
                    right += 1
                else:
                    wrong += 1
        right_of_all = right_of_all or right
        print(f"  {what:20} precision {right / (right + wrong):.3f} ({right} right, {wrong} wrong), "
              f"recall {right / right_of_all:.3f}")  # fmt: skip
    for beta in (None, 0.0):
        chosen_by = {} if beta is None else {"beta": beta}
        meanings(images, own, encoder, {**options, **chosen_by}, "by image and share" if beta is None else "by share")


def meanings(images: torch.Tensor, captions: list[str], encoder: Encoder, options: dict[str, object], how: str) -> None:
    known: dict[str, list[str]] = json.loads(Path(__file__).with_name("meanings.json").read_text())
    rows = [row for row, caption in enumerate(captions) if caption in known]
    if not rows:
        return
    spec = MofiAnnotator.read(AnnotatorSpec("e", "mofi", {**options, "threshold": -1.0}), open_storage())
    tagger = MofiAnnotator.open(spec, Means(encoder, TextVectors(encoder), open_storage(), None, 1))
    found = tags_of(tagger, images[rows], [captions[row] for row in rows])["e"]
    right = [tags[0].entity_id in known[captions[row]] for row, tags in zip(rows, found, strict=True)]
    print(f"  meanings chosen {how}: {sum(right) / len(right):.3f} of {len(right)} right")


def tags_of(tagger: MofiAnnotator, images: torch.Tensor, captions: list[str]) -> dict[str, list]:  # type: ignore[type-arg]
    found: dict[str, list] = {}  # type: ignore[type-arg]
    for start in range(0, len(captions), 512):
        cut = captions[start : start + 512]
        values = tagger(Embeddings(images[start : start + 512], cut, [None] * len(cut)))
        for column, tags in values.items():
            found.setdefault(column, []).extend(tags)  # type: ignore[arg-type]
    return found


if __name__ == "__main__":
    main()
