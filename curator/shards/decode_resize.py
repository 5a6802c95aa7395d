"""RGB pixels to the encoder's size: as Pillow does it, bit for bit, or as torchvision does it, close to that.

Knows no file format. Which of its two passes Pillow does first changed in version 13; it is asked, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from curator.errors import SampleError
from curator.shards.geometry import Geometry
from curator.shards.resample import resample, span

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_SPAN: Final = 1 << 17
_MAX_RESIZED: Final = 1 << 26
_FILTERS: Final = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_PROBES: Final = (
    (40, 60, 20, 30),
    (60, 20, 20, 30),
    (20, 60, 30, 30),
    (40, 70, 20, 31),
    (40, 71, 20, 31),
    (20, 20, 30, 30),
)

ColumnsFirst = Callable[[int, int, int, int], bool]


def resize_exact(pixels: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] to uint8 [3, target height, target width], equal to Pillow's resize, crop and pad.

    SampleError ``extreme_aspect_ratio`` where the reference fails, or would need gigabytes for a few pixels.
    """
    _check(geometry)
    columns_first = _columns_first(geometry)
    if columns_first is None:
        return _by_pillow(pixels, geometry)
    return resample(pixels, geometry, columns_first=columns_first)


def resize_close(pixels: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """As ``resize_exact``, by torch's native uint8 antialiased resize: within 1/255 of it, several times faster."""
    import torch
    from torch.nn.functional import interpolate

    x, y = geometry.x, geometry.y
    _check(geometry)
    if x.resized * y.resized > _MAX_RESIZED:
        return resize_exact(pixels, geometry)
    source = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if _columns_first(geometry):  # where sums are clipped between the passes, their order shows
        source = interpolate(source, (y.resized, x.source), mode=geometry.filter, antialias=True)
    if source.shape[2:] != (y.resized, x.resized):
        source = interpolate(source, (y.resized, x.resized), mode=geometry.filter, antialias=True)
    pixels = source[0].permute(1, 2, 0).numpy()
    return place(pixels, geometry)


def _check(geometry: Geometry) -> None:
    x, y = geometry.x, geometry.y
    if not x.resized or not y.resized or max(span(x, geometry.filter), span(y, geometry.filter)) > _MAX_SPAN:
        raise SampleError(
            "extreme_aspect_ratio", f"{x.source} x {y.source} pixels cannot become {x.target} x {y.target}"
        )


def _by_pillow(pixels: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    x, y = geometry.x, geometry.y
    if x.resized * y.resized > _MAX_RESIZED:
        raise SampleError(
            "extreme_aspect_ratio", f"{x.source} x {y.source} would become {x.resized} x {y.resized} pixels"
        )
    resized = Image.fromarray(pixels).resize((x.resized, y.resized), _FILTERS[geometry.filter])
    return place(np.asarray(resized), geometry)


def place(resized: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Crop and pad of the whole resized picture [height, width, 3], as [3, target height, target width]."""
    x, y = geometry.x, geometry.y
    out = np.full((3, y.target, x.target), geometry.fill, np.uint8)
    kept = resized[y.start : y.start + y.kept, x.start : x.start + x.kept]
    out[:, y.place : y.place + y.kept, x.place : x.place + x.kept] = kept.transpose(2, 0, 1)
    return out


def _columns_first(geometry: Geometry) -> bool | None:
    rule = _order()
    x, y = geometry.x, geometry.y
    return None if rule is None else rule(x.source, y.source, x.resized, y.resized)


@lru_cache(maxsize=1)
def _order() -> ColumnsFirst | None:
    """The rule by which the installed Pillow filters columns before rows, or None if it is none that is known."""
    noise = np.random.default_rng(0)
    seen = []
    for width, height, to_width, to_height in _PROBES:
        image = Image.fromarray(noise.integers(0, 256, (height, width), dtype=np.uint8))
        both = image.resize((to_width, to_height), Image.Resampling.BICUBIC)
        by_columns = image.resize((width, to_height), Image.Resampling.BICUBIC)
        seen.append(both.tobytes() == by_columns.resize((to_width, to_height), Image.Resampling.BICUBIC).tobytes())
    return next((rule for rule in (_since_13, _before_13) if [rule(*probe) for probe in _PROBES] == seen), None)


def _since_13(width: int, height: int, to_width: int, to_height: int) -> bool:
    return height > to_height and height - to_height > 2 * (width - to_width)


def _before_13(width: int, height: int, to_width: int, to_height: int) -> bool:
    return False
