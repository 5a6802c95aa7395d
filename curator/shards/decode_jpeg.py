"""Faster ways to a JPEG's RGB pixels than Pillow's. Knows no verdict: what fails is None, and Pillow has to look at it.

Measured on one core with photo-like JPEGs of quality 90: torchvision's decoder takes half of the time that Pillow takes
to give an array. For scaled decoding simplejpeg, which knows eighths, gains a tenth over Pillow's halves at 1024 x 768:
less than another dependency costs.
"""

from __future__ import annotations

import io
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from curator.data import Preprocess
from curator.shards.geometry import plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN: Final = ("RGB", "L")
_SPARE: Final = Fraction(5, 3)
"""How much larger than its target a scaled image stays: at 1 the hard edges of flat graphics ring visibly."""


@lru_cache(maxsize=1)
def agrees() -> bool:
    """Whether ``whole`` gives Pillow's values, bit for bit: both are libjpeg-turbo, but each brings its own release."""
    noise = np.random.default_rng(0).normal(128, 48, (41, 59, 3)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(noise)
    variants: list[tuple[Image.Image, dict[str, object]]] = [(picture.convert("L"), {}), (picture, {"keep_rgb": True})]
    for progressive in (False, True):
        variants += [
            (picture, {"subsampling": kind, "progressive": progressive}) for kind in ("4:4:4", "4:2:2", "4:2:0")
        ]
    for image, options in variants:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80, **options)
        read = JpegImageFile(io.BytesIO(buffer.getvalue()))
        pixels = whole(read, buffer.getvalue())
        if pixels is None or not np.array_equal(pixels, np.asarray(read.convert("RGB"))):
            return False
    return True


def whole(image: JpegImageFile, data: bytes) -> NDArray[np.uint8] | None:
    """RGB [height, width, 3] by torchvision; None where Pillow has to look at it."""
    if image.mode not in _PLAIN:
        return None
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg  # announced to move to another package one day

        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    except (ImportError, RuntimeError):
        return None
    rgb: NDArray[np.uint8] = pixels.permute(1, 2, 0).numpy()
    return rgb


def scaled(image: JpegImageFile, preprocess: Preprocess) -> NDArray[np.uint8] | None:
    """RGB of the image scaled by 1/2, 1/4 or 1/8 within the inverse DCT, still 5/3 of the size that it is resized to.

    None where no such scale is left, or where the mode needs more than a conversion.
    """
    if image.mode not in _PLAIN:
        return None
    geometry = plan(*image.size, preprocess)
    before = image.size
    image.draft(None, (ceil(_SPARE * max(geometry.x.resized, 1)), ceil(_SPARE * max(geometry.y.resized, 1))))
    if image.size == before:
        return None
    return np.asarray(image.convert("RGB"))
