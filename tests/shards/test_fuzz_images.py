"""Every mutated image ends in pixels or a reject with a reason, in every mode."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from PIL import Image

from curator.data import Preprocess
from curator.errors import SampleError
from curator.shards.decode import Decoder
from tests.builders import encode, make_image

FRAMES = [make_image(30, 20, seed=seed) for seed in range(3)]
SOURCES = [
    encode(make_image(50, 40), "JPEG"),
    encode(make_image(50, 40), "JPEG", progressive=True, quality=60),
    encode(make_image(50, 40, mode="CMYK"), "JPEG"),
    encode(make_image(30, 40), "PNG"),
    encode(make_image(30, 40, mode="P"), "PNG", transparency=3),
    encode(make_image(30, 40, mode="RGBA"), "PNG"),
    encode(Image.new("I;16", (20, 20), 700), "PNG"),
    encode(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    encode(make_image(30, 40), "WEBP"),
    encode(FRAMES[0], "WEBP", lossless=True, save_all=True, append_images=FRAMES[1:]),
    encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:], disposal=2),
    encode(make_image(30, 40), "BMP"),
    encode(make_image(30, 40), "TIFF"),
    encode(make_image(30, 40), "TIFF", compression="tiff_lzw"),
    encode(make_image(30, 40, mode="L"), "TIFF", compression="jpeg"),
]
PREPROCESS = Preprocess((24, 24), (0.5,) * 3, (0.5,) * 3)
REASONS = {
    "empty_image",
    "html_instead_of_image",
    "json_instead_of_image",
    "not_an_image",
    "unsupported_format",
    "too_many_pixels",
    "truncated_image",
    "extreme_aspect_ratio",
    "decode_error",
}


def mutate(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 40])):
        kind = rng.random()
        at = rng.randrange(min(len(changed), rng.choice([64, 10**9]))) if changed else 0
        if kind < 0.5 and changed:
            changed[at] = rng.choice([changed[at] ^ 1 << rng.randrange(8), 0, 0xFF, rng.randrange(256)])
        elif kind < 0.65:
            del changed[at : at + rng.choice([1, 4, 100])]
        elif kind < 0.8:
            changed[at:at] = rng.randbytes(rng.choice([1, 4, 100]))
        elif kind < 0.9:
            del changed[at:]
        else:
            changed += rng.choice([b"\0" * 50, bytes(changed), rng.randbytes(30)])
    return bytes(changed)


def outcome(decoder: Decoder, data: bytes) -> str:
    try:
        pixels = decoder(data).pixels
    except SampleError as reject:
        return reject.reason
    assert pixels.shape == (3, 24, 24)
    return "ok"


def check(seed: int) -> None:
    rng = random.Random(seed)
    data = mutate(rng, rng.choice(SOURCES))
    modes: list[Any] = ["exact", "close", "fast"]
    decoder = Decoder(PREPROCESS, mode=rng.choice(modes), max_pixels=1 << 22, exif_orientation=rng.random() < 0.5)
    start = time.thread_time()
    assert outcome(decoder, data) in {"ok", *REASONS}
    assert time.thread_time() - start < 5  # of this thread alone, so that a busy machine fails nothing


def test_mutated_images() -> None:
    for seed in range(1500):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
def test_many_mutated_images(batch: int) -> None:
    for seed in range(10_000 + batch * 1000, 10_000 + batch * 1000 + 1000):
        check(seed)
