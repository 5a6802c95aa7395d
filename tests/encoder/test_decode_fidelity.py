"""What the faster decode modes do to embeddings, with the embedded encoder: photographs and flat drawings."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from curator.encoder import Encoder
from curator.shards.decode import Decoder
from tests.builders import encode, make_jpeg


def drawing(size: int, seed: int) -> bytes:
    """A JPEG of flat shapes with hard edges, as icons and emoji have them."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        (left, right), (top, bottom) = np.sort(random.uniform(0, size, (2, 2)), axis=1)
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        shape = (pen.ellipse, pen.rectangle)[random.integers(2)]
        shape((left, top, right, bottom), fill=colour, outline="black", width=2)
    return encode(image, "JPEG", quality=90)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.open(precision="float32", device="cpu")


@pytest.mark.parametrize(("mode", "floor"), [("close", 0.9999), ("fast", 0.999)])
@pytest.mark.parametrize("kind", ["photographs", "drawings"])
def test_cosine_to_exact_at_the_first_percentile(
    encoder: Encoder, mode: Literal["close", "fast"], floor: float, kind: str
) -> None:
    sizes = (136, 160, 256, 300)
    if kind == "drawings":
        images = [drawing(size, seed) for seed, size in enumerate(sizes * 12)]
    else:
        images = [make_jpeg(2 * size, size, seed=seed) for seed, size in enumerate(sizes * 12)]

    def embedded(decoder: Decoder) -> torch.Tensor:
        return encoder.embed_pixels(torch.from_numpy(np.stack([decoder(data).pixels for data in images])))

    exact = embedded(Decoder(encoder.preprocess))
    cosines = (embedded(Decoder(encoder.preprocess, mode=mode)) * exact).sum(dim=1)
    assert float(torch.quantile(cosines, 0.01)) >= floor
