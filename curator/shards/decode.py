"""Image bytes to the uint8 pixels that a checkpoint's encoder eats. Knows no tar, no batch and no mean or std."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from curator.data import Decoded, Preprocess
from curator.errors import ConfigError, SampleError
from curator.shards.decode_color import is_turned, pixels_of, to_rgb, upright
from curator.shards.decode_formats import Format, check_size, format_of, is_cut, open_image
from curator.shards.decode_jpeg import scaled, whole
from curator.shards.decode_resize import resize_close, resize_exact
from curator.shards.decode_warnings import quiet
from curator.shards.geometry import plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

Mode: TypeAlias = Literal["exact", "close", "fast"]
MAX_PIXELS: Final = 89_478_485
"""Pillow's own limit: a quarter of a gigabyte of 24-bit pixels."""


class Decoder:
    """``decoder(data)`` decodes one image for ``preprocess``; equal to open_clip's transform in mode ``exact``.

    The image becomes RGB first (transparency on ``background``), then is resized, cropped and padded as open_clip's
    ``image_transform(is_train=False)`` does before ToTensor and Normalize: bit for bit in mode ``exact``. EXIF
    orientation is applied only if ``exif_orientation``, since open_clip's training does not. An image of more than
    ``max_pixels`` is refused by its header. Decoders can be pickled and shared between threads.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        *,
        mode: Mode = "exact",
        max_pixels: int = MAX_PIXELS,
        exif_orientation: bool = False,
        background: tuple[int, int, int] = (255, 255, 255),
    ) -> None:
        if mode not in get_args(Mode):
            raise ConfigError(f"decode mode {mode!r} is not known; use {', '.join(get_args(Mode))}")
        self.preprocess = preprocess
        self.mode = mode
        self.max_pixels = max_pixels
        self.exif_orientation = exif_orientation
        self.background = background

    def __call__(self, data: bytes) -> Decoded:
        """The pixels uint8 [3, height, width] of ``preprocess.size``, with the stored image's size and format.

        Raises only SampleError: empty_image, html_instead_of_image, json_instead_of_image, not_an_image,
        unsupported_format, too_many_pixels, truncated_image, extreme_aspect_ratio or decode_error.
        """
        format = format_of(data)
        try:
            with quiet():
                return self._decode(data, format)
        except SampleError:
            raise
        except Exception as error:
            raise _verdict(data, format, error) from error

    def prepare(self) -> None:
        """Load and look up all that the first image would: before a process forks, or before time counts."""
        picture = io.BytesIO()
        Image.new("RGB", (64, 48)).save(picture, "JPEG")
        self(picture.getvalue())

    def _decode(self, data: bytes, format: Format) -> Decoded:
        image = open_image(data, format, self.max_pixels)
        width, height = image.size
        pixels = self._jpeg(image, data) if isinstance(image, JpegImageFile) else None
        if pixels is None:
            pixels = self._pixels(image)
        geometry = plan(pixels.shape[1], pixels.shape[0], self.preprocess)
        resized = resize_exact(pixels, geometry) if self.mode == "exact" else resize_close(pixels, geometry)
        return Decoded(resized, width, height, format)

    def _jpeg(self, image: JpegImageFile, data: bytes) -> NDArray[np.uint8] | None:
        if self.mode == "exact" or (self.exif_orientation and is_turned(image)):
            return None
        pixels = scaled(image, self.preprocess) if self.mode == "fast" else None
        return whole(image, data) if pixels is None else pixels

    def _pixels(self, image: ImageFile) -> NDArray[np.uint8]:
        image.load()
        check_size(image.size, self.max_pixels)  # a GIF's frame may be larger than its header says
        return pixels_of(to_rgb(upright(image) if self.exif_orientation else image, self.background))


def _verdict(data: bytes, format: Format, error: Exception) -> SampleError:
    if is_cut(data, format) or "truncated" in str(error).lower():
        return SampleError("truncated_image", f"the {format} ends early ({error})")
    return SampleError("decode_error", f"the {format} cannot be decoded: {type(error).__name__}: {error}")
