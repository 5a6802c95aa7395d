"""What entity tagging costs beside the encoder, and how fast aliases are found, with a gazetteer of 500,000 aliases.

    python tests/benchmarks/entities_cost.py --wordnet DICT [--aliases 500000] [--images 512] [--architecture ViT-B-32]

The gazetteer is WordNet's nouns with made-up phrases of its words for further aliases; the captions are WordNet's
glosses (59 characters on average). Batches go through the encoder (untrained, bfloat16) and through the annotator in
turn, and the processor time of each is summed in one process with one thread, so that what else the machine does
counts little: the cost is the ratio of the two. ``texts``: vectors of entities from the run's cache, first cold, then
when each was seen once; ``bank``: from a bank of all entities (random vectors here, which makes no difference to time).
"""

from __future__ import annotations

import argparse
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
from curator.kernels.vectors import l2_normalize
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
    parser.add_argument("--aliases", type=int, default=500_000)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--captions", type=int, default=20_000, help="for the speed of matching alone")
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
        captions = glosses[: args.captions]
        matching(gazetteer, captions)
        cost(path, gazetteer, captions[: args.images], args.architecture)


def matching(gazetteer: Gazetteer, captions: list[str]) -> None:
    began = time.process_time()
    match = Matcher(gazetteer)
    match(captions[0])
    print(f"{gazetteer.aliases} aliases; a matcher is ready after {time.process_time() - began:.2f} s")
    for turn in ("first time", "again"):
        began, mentions = time.process_time(), 0
        for caption in captions:
            mentions += len(match(caption))
        spent = time.process_time() - began
        print(
            f"matching, {turn}: {len(captions) / spent:.0f} captions/s of one core, "
            f"{mentions / len(captions):.1f} mentions each"
        )


def cost(path: Path, gazetteer: Gazetteer, captions: list[str], architecture: str) -> None:
    encoder = Encoder.open(architecture, "random", precision="bfloat16", device="cpu")
    options = {"gazetteer": str(path), "threshold": 0.2}
    storage = open_storage()
    spec = MofiAnnotator.read(AnnotatorSpec("entities", "mofi", options), storage)
    texts = TextVectors(encoder)
    means = Means(encoder, texts, storage, None, 1)
    height, width = encoder.preprocess.size
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, 3, height, width), dtype=np.uint8))
    encoder.embed_pixels(pixels)
    bank = l2_normalize(torch.randn(len(gazetteer), encoder.dim, generator=torch.Generator().manual_seed(0)))
    cached = MofiAnnotator(spec, means, gazetteer)
    for name, tagger in (
        ("bank", MofiAnnotator(spec, means, gazetteer, bank)),
        ("texts, cold", cached),
        ("texts, warm", cached),
    ):
        encode_s = tag_s = 0.0
        missed = texts.misses
        for start in range(0, len(captions) - BATCH + 1, BATCH):
            cut = captions[start : start + BATCH]
            began = time.process_time()
            vectors = encoder.embed_pixels(pixels)
            middle = time.process_time()
            tagger(Embeddings(vectors, cut, [None] * BATCH))
            encode_s, tag_s = encode_s + middle - began, tag_s + time.process_time() - middle
        images = len(captions) // BATCH * BATCH
        print(
            f"{name}: tagging {1000 * tag_s / images:.3f} ms an image, {architecture} bfloat16 "
            f"{1000 * encode_s / images:.2f} ms: {tag_s / encode_s:.1%} "
            f"({(texts.misses - missed) / images:.1f} texts encoded an image)",
            flush=True,
        )


if __name__ == "__main__":
    main()
