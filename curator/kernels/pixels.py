"""Owns statistics of an image's pixels: sharpness and entropy. Arrays in, numbers out; knows no file and no encoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey [H, W] in 0..255 of uint8 [3, H, W], by the weights of ITU-R BT.601."""
    grey: NDArray[np.float32] = np.tensordot(_LUMA, pixels.astype(np.float32), axes=1)
    return grey


def laplacian_variance(grey: NDArray[np.float32]) -> float:
    """Variance of the 4-neighbour Laplacian over the inner pixels of [H, W]: low for a blurred image.

    Pech-Pacheco et al. 2000. 0 for an image without inner pixels.
    """
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def entropy_bits(grey: NDArray[np.float32]) -> float:
    """Shannon entropy of the 256 grey levels, in bits: 0 for one flat colour, 8 at most."""
    counts = np.bincount(np.rint(grey).astype(np.int64).ravel(), minlength=256)
    shares = counts[counts > 0] / grey.size
    return float(-(shares * np.log2(shares)).sum()) + 0.0
