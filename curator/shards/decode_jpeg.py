"""Ways to a JPEG's RGB pixels for the modes that need not be exact. What fails is None: Pillow has to look at it.

Knows no verdict. Measured on one core: torch resizes the planes that torchvision's decoder gives a seventh faster than
what Pillow gives; the exact resize is no faster for it, and that mode needs no torch. For scaled decoding simplejpeg,
which knows eighths, gains a tenth over Pillow's halves at 1024 x 768: less than another dependency costs.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from curator.data import Preprocess
from curator.shards.geometry import plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN: Final = ("RGB", "L")
_SPARE: Final = Fraction(5, 3)
"""How much larger than its target a scaled image stays: at 1 the hard edges of flat graphics ring visibly."""


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
