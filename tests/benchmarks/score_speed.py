"""Captions, images and embeddings a second of CPU that each score takes: python tests/benchmarks/score_speed.py

CPU seconds of one thread, the best of three, so that a busy machine changes little. Captions are of twelve words on
average, drawn from WordNet's nouns and function words; metadata has 57,506 entries (the nouns) and as many pairs.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from curator.data import Embeddings
from curator.kernels.score_heads import Layer, ScoreModel
from curator.scores.head_files import HeadFile, write_head
from curator.storage import MemoryStorage
from curator.wordnet.lexicon import lexicon
from tests.scores.opening import CpuEncoder, open_score

ROWS, DIM = 2000, 768


class FastEncoder(CpuEncoder):
    """Texts cost nothing: what is measured is the rest."""

    def embed_text(self, texts: Any, batch_size: int = 256) -> torch.Tensor:
        return torch.ones(len(texts), self.dim) / self.dim**0.5


def best(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(3):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    draw = random.Random(0)
    nouns = sorted(lexicon().classes.nouns)
    common = ["a", "the", "of", "in", "on", "with", "and", "photo", "red", "two", ",", "."] * 200 + nouns[::20]
    captions = [" ".join(draw.choices(common, k=draw.randint(4, 20))) for _ in range(ROWS)]
    pixels = [np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8)] * 200
    storage, encoder = MemoryStorage(), FastEncoder(dim=DIM)
    entries = [*nouns, *(f"{a} {b}" for a, b in itertools.pairwise(nouns))]
    storage.write("memory://s/entries.txt", "\n".join(entries).encode())
    rng = np.random.default_rng(0)
    for name, widths in (("linear", (DIM, 1)), ("mlp", (DIM, 64, 512, 256, 1))):
        layers = tuple(
            Layer(torch.from_numpy(rng.normal(size=(b, a)).astype(np.float32)), torch.zeros(b), "relu")
            for a, b in itertools.pairwise(widths)
        )
        storage.write(
            f"memory://s/{name}.safetensors", write_head(HeadFile(ScoreModel(layers), {"": (0, "x")}, "fake"))
        )
    vectors = torch.from_numpy(rng.normal(size=(ROWS, DIM)).astype(np.float32))
    batch = Embeddings(vectors, captions, [None] * ROWS, [(640, 480)] * ROWS)
    images = Embeddings(vectors[:200], captions[:200], [None] * 200, [(640, 480)] * 200, pixels)
    print(f"captions of {sum(map(len, captions)) / ROWS:.0f} characters")
    for label, method, options, rows in (
        ("clip_score (without the text tower)", "clip_score", {}, batch),
        ("caption_stats, no language", "caption_stats", {"language": False}, batch),
        ("caption_stats", "caption_stats", {}, batch),
        ("metaclip, 115,011 entries", "metaclip", {"metadata": "memory://s/entries.txt"}, batch),
        ("catlip", "catlip", {}, batch),
        ("image_shape", "image_shape", {}, batch),
        ("image_stats, 224 px", "image_stats", {}, images),
        ("head: linear", "head", {"file": "memory://s/linear.safetensors"}, batch),
        ("head: 768-64-512-256-1", "head", {"file": "memory://s/mlp.safetensors"}, batch),
    ):
        opened = open_score(method, storage=storage, encoder=encoder, **options)
        seconds = best(lambda opened=opened, rows=rows: opened(rows))
        print(f"{label:40s} {len(rows.captions) / seconds:10,.0f} rows/s  {1e6 * seconds / len(rows.captions):8.1f} us")


if __name__ == "__main__":
    main()
