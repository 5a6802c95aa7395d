"""What entity tagging costs beside the encoder, and how fast aliases are found, with a gazetteer of 500,000 aliases.

    python tests/benchmarks/entities_cost.py --wordnet DICT [--captions FILE] [--images N] [--descriptions]
        [--aliases 500000] [--architecture ViT-B-32]

The gazetteer is WordNet's nouns with made-up phrases of its words for further aliases. The captions are the lines of a
file, or WordNet's glosses (59 characters on average), each of which names something else: the worst there is. Batches
go through the annotator, and now and then one through the encoder (untrained, bfloat16); the processor time of each is
summed in one process with one thread, so that what else the machine does counts little: the cost is the ratio of both.

``cold``: a run on a node that never saw the gazetteer, by parts of the run; ``next run``: another run on that node,
which finds the vectors of the first; ``half new``: a run on a node that has seen every second caption.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from curator.annotators import AnnotatorSpec, Means, TextVectors
from curator.data import Embeddings
from curator.encoder import Encoder
from curator.entities.building import SourceEntity, build
from curator.entities.gazetteer import Gazetteer
from curator.entities.matching import Matcher
from curator.entities.mofi import MofiAnnotator
from curator.entities.rules import Rules, stop_words
from curator.entities.sources import read_wordnet
from curator.storage import open_storage

BATCH = 64


def padded(wordnet: Path, aliases: int) -> Iterator[SourceEntity]:
    """WordNet's entities, and others whose names are phrases of its words, until there are ``aliases`` in all."""
    rng = random.Random(0)
    words, seen = [], set()
    for entity in read_wordnet(wordnet):
        seen.update(alias for alias, _ in entity.aliases)
        words += [alias for alias, _ in entity.aliases if alias.isalpha()]
        yield entity
    number = 0
    while len(seen) < aliases * 1.003:  # the rules drop a few
        name = " ".join(rng.choices(words, k=rng.randint(2, 3)))
        if name not in seen:
            seen.add(name)
            number += 1
            yield SourceEntity(f"made-{number}", name, description=f"a kind of {rng.choice(words)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--captions", type=Path, help="a text file with a caption a line; default: glosses of WordNet")
    parser.add_argument("--aliases", type=int, default=500_000)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--descriptions", action="store_true")
    parser.add_argument("--architecture", default="ViT-B-32")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "gazetteer.arrow"
        build(padded(args.wordnet, args.aliases), path, Rules(stop_words()), {"kind": "benchmark"})
        gazetteer = Gazetteer.open(path)
        glosses = sorted({gazetteer.entity(row).description for row in range(80_000)})
        rng.shuffle(glosses)
        matching(gazetteer, glosses[:20_000])
        captions = [line for line in args.captions.read_text().splitlines() if line] if args.captions else glosses
        encoder = Encoder.open(args.architecture, "random", precision="bfloat16", device="cpu")
        cost(path, encoder, captions[: args.images // BATCH * BATCH], Path(work), descriptions=args.descriptions)


def matching(gazetteer: Gazetteer, captions: list[str]) -> None:
    began = time.process_time()
    match = Matcher(gazetteer)
    match(captions[0])
    print(f"{gazetteer.aliases} aliases; a matcher is ready after {time.process_time() - began:.2f} s")
    for turn in ("first time", "second time", "third time"):
        began, mentions = time.process_time(), 0
        for caption in captions:
            mentions += len(match(caption))
        spent = time.process_time() - began
        print(
            f"matching, {turn}: {len(captions) / spent:.0f} captions/s of one core, "
            f"{mentions / len(captions):.1f} mentions each"
        )


def cost(path: Path, encoder: Encoder, captions: list[str], work: Path, *, descriptions: bool) -> None:
    height, width = encoder.preprocess.size
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, 3, height, width), dtype=np.uint8))
    vectors = encoder.embed_pixels(pixels)
    storage = open_storage()
    options = {"gazetteer": str(path), "threshold": 0.2, "descriptions": descriptions}
    spec = MofiAnnotator.read(AnnotatorSpec("entities", "mofi", options), storage)

    def run(name: str, node: str, captions: list[str], report: tuple[int, ...]) -> None:
        """One run on a node with the cache ``node``; prints what it cost after so many images."""
        texts = TextVectors(encoder)
        tagger = MofiAnnotator.open(spec, Means(encoder, texts, storage, str(work / node), 1))
        encode_s = tag_s = 0.0
        encoded = 0
        for start in range(0, len(captions), BATCH):
            cut = captions[start : start + BATCH]
            began = time.process_time()
            tagger(Embeddings(vectors[: len(cut)], cut, [None] * len(cut)))
            tag_s += time.process_time() - began
            if start // BATCH % 8 == 0:
                began = time.process_time()
                encoder.embed_pixels(pixels)
                encode_s += time.process_time() - began
                encoded += BATCH
            done = start + len(cut)
            if done in report or done == len(captions):
                tag_ms, encode_ms = 1000 * tag_s / done, 1000 * encode_s / encoded
                print(
                    f"{name}, {done} images: tagging {tag_ms:.3f} ms an image, {encoder.name} bfloat16 {encode_ms:.2f} "
                    f"ms: {tag_ms / encode_ms:.1%} ({texts.misses / done:.2f} texts encoded an image)",
                    flush=True,
                )

    run("cold", "first", captions, (512, 2048, 8192, 32_768))
    run("next run", "first", captions[:2048], ())
    few = len(captions) // 4 // BATCH * BATCH
    with contextlib.redirect_stdout(io.StringIO()):
        run("", "second", captions[: 2 * few : 2], ())
    run("half new", "second", captions[: 2 * few], ())


if __name__ == "__main__":
    main()
