"""Decode modes against open_clip's own transform, one core, one run: milliseconds and ratios, largest and mean error.

python tests/benchmarks/decode_modes.py                         generated photo-like JPEGs at three sizes
python tests/benchmarks/decode_modes.py --images DIRECTORY      the JPEGs below a directory of your own
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from curator.data import Preprocess
from curator.shards.decode import Decoder
from tests.builders import make_jpeg

MODES = ("exact", "close", "fast")
SIZES = ((512, 384), (1024, 768), (2048, 1536))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="the encoder's input in pixels")
    parser.add_argument("--images", type=Path, help="a directory of JPEGs instead of generated ones")
    parser.add_argument("--count", type=int, default=8, help="images per set")
    parser.add_argument("--rounds", type=int, default=15, help="times each image is decoded")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    print(
        f"{'images':>12} {'ms open_clip':>12} " + " ".join(f"{f'{mode} ms':>10} {'ratio':>6}" for mode in MODES), end=""
    )
    print("  largest / mean error of close, of fast (in 1/255)")
    for name, images in _sets(arguments.images, arguments.count):
        report(name, images, arguments.size, arguments.rounds)


def report(name: str, images: Sequence[bytes], size: int, rounds: int) -> None:
    reference = open_clip.image_transform(size, is_train=False)
    preprocess = Preprocess((size, size), open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    decoders = {mode: Decoder(preprocess, mode=mode) for mode in MODES}
    calls: dict[str, Callable[[bytes], object]] = {
        "open_clip": lambda data: reference(Image.open(io.BytesIO(data))),
        **decoders,
    }
    seconds = _seconds(calls, images, rounds)
    columns = [f"{1000 * seconds[mode]:10.2f} {seconds['open_clip'] / seconds[mode]:6.2f}" for mode in MODES]
    errors = []
    for mode in ("close", "fast"):
        differences = [
            np.abs(decoders["exact"](data).pixels.astype(int) - decoders[mode](data).pixels) for data in images
        ]
        errors.append(f"{max(d.max() for d in differences)} / {np.mean([d.mean() for d in differences]):.3f}")
    print(f"{name:>12} {1000 * seconds['open_clip']:12.2f} {' '.join(columns)}  {', '.join(errors)}")


def _seconds(calls: dict[str, Callable[[bytes], object]], images: Sequence[bytes], rounds: int) -> dict[str, float]:
    """The median CPU seconds per image of each call; they take turns, so that a busy machine slows all of them."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.thread_time()
            for data in images:
                call(data)
            if turn:
                taken[name].append((time.thread_time() - start) / len(images))
    return {name: float(np.median(values)) for name, values in taken.items()}


def _sets(directory: Path | None, count: int) -> list[tuple[str, list[bytes]]]:
    if directory is not None:
        paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:count]
        if not paths:
            raise SystemExit(f"{directory}: no .jpg or .jpeg below it; give another directory")
        return [(directory.name[:12], [path.read_bytes() for path in paths])]
    return [(f"{w}x{h}", [make_jpeg(w, h, seed=seed) for seed in range(count)]) for w, h in SIZES]


if __name__ == "__main__":
    main()
