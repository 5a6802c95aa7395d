"""How fast an object decoder decodes on one core, by beam: python tests/benchmarks/novic.py [FILE] --beams 1 3 5 10.

Per beam: images per second of wall time and of CPU time (the machine may be busy with other things), best and median
of the repeats, and how often the best noun is that of the exact scores of all nouns, on the same vectors. The vectors
are noisy embeddings of the decoder's own nouns, as in its training: no picture is needed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from curator.encoder import Encoder
from curator.free.novic.model import END
from curator.free.novic.search import score_all, search
from curator.free.novic.weights import EMBEDDED, from_bytes, padded
from curator.kernels.noise import AngleNoise
from curator.kernels.trie import Trie


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=EMBEDDED)
    parser.add_argument("--encoder", default="embedded")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3, 5, 10])
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = from_bytes(options.file.read_bytes(), str(options.file))
    encoder = Encoder.open(options.encoder, precision="float32")
    trained.require(encoder.digest, str(options.file))
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(trained.nouns), generator=generator)[: options.batch]
    texts = [f"a picture of {trained.nouns[row]}" for row in chosen]
    recipe = trained.notes.get("recipe", {})
    vectors = AngleNoise(recipe.get("deviation", 1.75))(encoder.embed_text(texts), generator)
    guide = Trie.build(trained.spelled, END)
    nouns = padded(trained.spelled, trained.model.architecture.longest - 1)
    size = sum(weight.numel() for weight in trained.model.parameters())
    print(f"{len(trained.nouns)} nouns, {size} parameters, batch {len(vectors)}, load {os.getloadavg()[0]:.1f}")
    exact = score_all(trained.model, vectors[:32], nouns).argmax(dim=1)
    print("beam  images/s best  median   of CPU time best  median   best noun is the exact one")
    for beam in options.beams:
        search(trained.model, vectors, guide, beam)
        walls, cores = [], []
        for _ in range(options.repeats):
            wall, core = time.perf_counter(), time.process_time()
            found, _ = search(trained.model, vectors, guide, beam)
            walls.append(len(vectors) / (time.perf_counter() - wall))
            cores.append(len(vectors) / (time.process_time() - core))
        same = float((found[:32, 0] == exact).float().mean())
        print(
            f"{beam:4d}  {max(walls):13.0f}  {statistics.median(walls):6.0f}  {max(cores):17.0f}  "
            f"{statistics.median(cores):6.0f}   {same:.0%} of 32"
        )


if __name__ == "__main__":
    main()
