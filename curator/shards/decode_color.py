"""A Pillow image of any mode to RGB pixels, transparency laid on a background. Knows no file format and no resize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageOps

from curator.errors import SampleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRANSPARENT: Final = frozenset({"RGBA", "LA", "PA", "RGBa"})

_ORIENTATION: Final = 0x0112

_KEPT_BLOCKS: Final = 2
# Pillow's images, of up to 16 MB each, stand in memory that was used before: new memory for every image costs a
# twentieth of the time (see "Block allocator" in Pillow's reference).
Image.core.set_blocks_max(max(_KEPT_BLOCKS, Image.core.get_blocks_max()))  # type: ignore[attr-defined]


def to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The image in mode RGB, at its own size.

    Transparency is laid on ``background`` before anything else; 16-bit greys are scaled to 8 bits, not clipped. Pixels
    without a defined range (float, 32-bit integers) are a SampleError ``unsupported_format``.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return _sixteen_bit(np.asarray(image))
    if image.mode == "I" and image.format == "PNG":
        return _sixteen_bit(np.asarray(image))
    if image.mode in ("I", "F"):
        kind = "float" if image.mode == "F" else "32-bit integer"
        raise SampleError("unsupported_format", f"{kind} pixels have no defined range; store 8 or 16 bits a channel")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        return _flatten(image.convert("RGBA"), background)
    return image.convert("RGB")


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """What ``numpy.asarray`` gives of an RGB image, uint8 [height, width, 3], in half the time or less.

    Pillow keeps four bytes a pixel. To take them as they are, in one piece, is much cheaper than to pack three of them
    in pieces of 64 kB and to join these: the array is a view that leaves every fourth byte out.
    """
    width, height = image.size
    encoder = Image._getencoder("RGB", "raw", ("RGBX", 4 * width))
    encoder.setimage(image.im, (0, 0, width, height))
    _, done, data = encoder.encode(4 * width * height)
    if done != 1:
        return np.asarray(image)
    return np.frombuffer(data, np.uint8).reshape(height, width, 4)[:, :, :3]


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF orientation asks for a turn or a mirror."""
    return bool(image.getexif().get(_ORIENTATION, 1) != 1)


def upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says it should be seen."""
    return ImageOps.exif_transpose(image)


def _flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def _sixteen_bit(pixels: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> Image.Image:
    scaled = (pixels.astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
