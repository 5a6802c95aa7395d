"""Owns how a library user's images become pixels for the encoder. The pipeline's own decoder is not known here."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from curator.data import Decoded, Preprocess
from curator.errors import SampleError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    ImageLike: TypeAlias = Image | str | os.PathLike[str] | bytes | NDArray[np.uint8] | Tensor


class PixelReader:
    """Brings one image of any kind that ``Encoder.embed`` takes to uint8 [3, H, W] of the encoder's size.

    ``decode`` replaces open_clip's transform for paths and bytes.
    """

    def __init__(self, preprocess: Preprocess, decode: Callable[[bytes], Decoded] | None = None) -> None:
        from open_clip.transform import image_transform

        self._size = preprocess.size
        self._decode = decode
        transform = image_transform(
            preprocess.size,
            is_train=False,
            mean=preprocess.mean,
            std=preprocess.std,
            resize_mode=preprocess.resize_mode,
            interpolation=preprocess.interpolation,
            fill_color=preprocess.fill_color,
        )
        self._geometry = transform.transforms[:-2]  # all but ToTensor and Normalize, which belong to the device

    def __call__(self, image: ImageLike) -> Tensor:
        """Raises SampleError for bytes that are no image, ValueError for an array of another shape or dtype."""
        if isinstance(image, Tensor):
            image = image.cpu().numpy()
        if isinstance(image, np.ndarray):
            return self._array(image)
        place = ""
        if isinstance(image, (str, os.PathLike)):
            place = f"{os.fspath(image)}: "
            with open(image, "rb") as file:
                image = file.read()
        if isinstance(image, bytes):
            return torch.from_numpy(self._decode(image).pixels) if self._decode else self._bytes(image, place)
        if not hasattr(image, "convert"):
            raise TypeError(
                f"an image is a PIL image, a path, encoded bytes or a uint8 array, not {type(image).__name__}"
            )
        return self._picture(image)

    def _array(self, array: NDArray[Any]) -> Tensor:
        if array.dtype != np.uint8 or array.ndim != 3:
            raise ValueError(f"an image array is uint8 [3, H, W] or [H, W, 3], not {array.dtype} {array.shape}")
        if array.shape == (3, *self._size):
            return torch.from_numpy(np.ascontiguousarray(array))
        if array.shape[2] != 3:
            raise ValueError(
                f"an array of shape {array.shape} must be [H, W, 3], or [3, {self._size[0]}, {self._size[1]}]"
            )
        from PIL import Image

        return self._picture(Image.fromarray(array))

    def _bytes(self, data: bytes, place: str) -> Tensor:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data)) as image:
                return self._picture(image)
        except UnidentifiedImageError as error:
            raise SampleError("undecodable_image", f"{place}no image format begins with {data[:8]!r}") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise SampleError("undecodable_image", f"{place}{error}") from error

    def _picture(self, image: Any) -> Tensor:
        for step in self._geometry:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
