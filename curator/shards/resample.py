"""Pillow's antialiased 8-bit resize of only the pixels that a crop keeps, bit for bit. Knows arrays and no decoder.

Pillow filters rows, rounds to 8 bits, then filters columns, both with coefficients of 22 fractional bits
(``src/libImaging/Resample.c``). A pass is a banded matrix product, which BLAS does faster than Pillow's scalar loops;
in float64 every such sum is exact, whatever its order. All bands are one call of numpy's: threads that decode wait for
the interpreter lock after every call, and with one for each band two threads were no faster than one.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from math import prod
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curator.shards.geometry import Axis, Geometry

Floats: TypeAlias = NDArray[Any]

_PRECISION_BITS: Final = 22
_SUPPORT: Final = {"bicubic": 2.0, "bilinear": 1.0}
_BAND: Final = 8
_CHUNK_NUMBERS: Final = 1 << 18  # of a piece of rows: they stay in a core's cache
_KEPT_BYTES: Final = 1 << 23  # of one piece of working memory

_memory = threading.local()


class _Pass(NamedTuple):
    """One axis: ``begin`` and ``end`` bound the inputs that matter.

    The product is one of ``bands``, each ``_BAND`` outputs wide: band b is the inputs from ``origin + b * stride`` on,
    as many as ``matrices`` [bands, inputs, _BAND] has rows.
    """

    begin: int
    end: int
    origin: int
    stride: int
    matrices: Floats

    @property
    def bands(self) -> int:
        return len(self.matrices)

    @property
    def width(self) -> int:
        """The inputs from ``origin`` to the end of the last band."""
        return self.stride * (self.bands - 1) + int(self.matrices.shape[1])

    def inside(self, values: Floats) -> Floats:
        """Those of the values [width, ...] that stand for inputs; the others only fill up bands."""
        return values[self.begin - self.origin : self.end - self.origin]


def span(axis: Axis, filter: str) -> int:
    """How many source pixels along ``axis`` the kept pixels depend on."""
    if axis.resized == axis.source:
        return axis.kept
    scale = axis.source / axis.resized
    return min(axis.source, int(axis.kept * scale + 2 * _SUPPORT[filter] * max(scale, 1.0)) + 2)


def resample(pixels: NDArray[np.uint8], geometry: Geometry, *, columns_first: bool = False) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] to uint8 [3, target height, target width], equal to Pillow's resize, crop and pad.

    ``columns_first`` filters columns before rows, as Pillow does for some sizes since version 13.
    """
    x, y = geometry.x, geometry.y
    rows = _pass(y, geometry.filter) if y.resized != y.source else None
    columns = _pass(x, geometry.filter) if x.resized != x.source else None
    top, bottom = (rows.begin, rows.end) if rows else (y.start, y.start + y.kept)
    pixels = pixels[top:bottom]
    lines = _scratch("lines", (y.kept, 3, x.kept))
    if rows is None:
        _along_rows(pixels, x, columns, lines)
    elif columns_first:
        window = _scratch("window", (rows.width, 3 * x.source))
        np.copyto(rows.inside(window).reshape(pixels.shape), pixels)
        filtered = _along_columns(window, rows, y.kept).reshape(y.kept, x.source, 3)
        _along_rows(filtered, x, columns, lines)
    else:
        window = _scratch("window", (rows.width, 3 * x.kept))
        _along_rows(pixels, x, columns, rows.inside(window).reshape(len(pixels), 3, x.kept))
        lines = _along_columns(window, rows, y.kept).reshape(y.kept, 3, x.kept)
    out = np.empty((3, y.target, x.target), np.uint8)
    if (x.kept, y.kept) != (x.target, y.target):
        out.fill(geometry.fill)
    kept = out[:, y.place : y.place + y.kept, x.place : x.place + x.kept]
    np.copyto(kept, lines.transpose(1, 0, 2), casting="unsafe")
    return out


def _scratch(name: str, shape: tuple[int, ...]) -> Floats:
    """Working memory of this thread, in use again with every image; what stands in it is left over, but finite.

    New memory for every image would cost a tenth of the time: the kernel hands it out page by page, one thread at a
    time.
    """
    count = prod(shape)
    memory: Floats | None = _memory.__dict__.get(name)
    if memory is None or memory.size < count:
        memory = np.zeros(count)
        if memory.nbytes <= _KEPT_BYTES:
            _memory.__dict__[name] = memory
    return memory[:count].reshape(shape)


def _along_rows(pixels: NDArray[Any], axis: Axis, step: _Pass | None, out: Floats) -> None:
    """Values [rows, width, 3] to whole numbers [rows, 3, kept] in ``out``."""
    if step is None:
        np.copyto(out, pixels[:, axis.start : axis.start + axis.kept].transpose(0, 2, 1))
        return
    rows, inputs = len(pixels), step.matrices.shape[1]
    columns = pixels[:, step.begin : step.end].transpose(0, 2, 1)
    height = min(rows, max(1, _CHUNK_NUMBERS // (3 * step.width)))
    source = _scratch("source", (height, 3, step.width))
    sums = _scratch("sums", (height * 3, step.bands * _BAND))
    shape, strides = (step.bands, height * 3, inputs), (step.stride * 8, *source.strides[1:])
    windows: Floats = np.ndarray(shape, float, source, strides=strides)
    results = sums.reshape(height * 3, step.bands, _BAND).transpose(1, 0, 2)
    for row in range(0, rows, height):
        count = min(height, rows - row)
        np.copyto(source[:count, :, step.begin - step.origin : step.end - step.origin], columns[row : row + count])
        np.matmul(windows[:, : count * 3], step.matrices, out=results[:, : count * 3])
        _round(sums[: count * 3, : axis.kept], out[row : row + count].reshape(count * 3, axis.kept))


def _along_columns(values: Floats, step: _Pass, kept: int) -> Floats:
    """Values [width, n] to whole numbers [kept, n]; ``values`` begins at ``step.origin``."""
    n = values.shape[1]
    shape, strides = (step.bands, step.matrices.shape[1], n), (step.stride * values.strides[0], *values.strides)
    sums = _scratch("columns", (step.bands * _BAND, n))
    results = sums.reshape(step.bands, _BAND, n)
    windows: Floats = np.ndarray(shape, float, values, strides=strides)
    np.matmul(step.matrices.transpose(0, 2, 1), windows, out=results)
    _round(sums[:kept], sums[:kept])
    return sums[:kept]


def _round(sums: Floats, out: Floats) -> None:
    """``sums`` to the nearest whole numbers from 0 to 255, halves up, into ``out``; destroys ``sums``."""
    np.add(sums, 0.5, out=sums)
    np.floor(sums, out=sums)
    np.clip(sums, 0, 255, out=out)


@lru_cache(maxsize=256)
def _pass(axis: Axis, filter: str) -> _Pass:
    """Pillow's ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` for the kept outputs of one axis."""
    scale = axis.source / axis.resized
    stretch = max(scale, 1.0)
    support = _SUPPORT[filter] * stretch
    outputs = np.arange(axis.start, axis.start + axis.kept)
    centers = (outputs + 0.5) * scale
    first = np.maximum((centers - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centers + support + 0.5).astype(np.intp), axis.source)
    tap = np.arange(int((last - first).max()))
    distance = (tap + first[:, None] - centers[:, None] + 0.5) * (1.0 / stretch)
    weights = np.where(tap < (last - first)[:, None], _FILTERS[filter](np.abs(distance)), 0.0)
    total = np.cumsum(weights, axis=1)[:, -1:]  # one after the other, as Pillow adds them
    weights /= np.where(total == 0.0, 1.0, total)
    quantised = np.trunc(weights * (1 << _PRECISION_BITS) + np.where(weights < 0, -0.5, 0.5)) / (1 << _PRECISION_BITS)
    begin, end = int(first[0]), int(last[-1])
    firsts, lasts = first[::_BAND], np.append(last[_BAND - 1 :: _BAND], last[-1])[: -(-axis.kept // _BAND)]
    stride = int(firsts[-1] - firsts[0]) // max(len(firsts) - 1, 1)
    offsets = stride * np.arange(len(firsts))
    origin = int((firsts - offsets).min())
    matrices: Floats = np.zeros((len(firsts), int((lasts - offsets).max()) - origin, _BAND))
    for output in range(axis.kept):
        band, taps = output // _BAND, int(last[output] - first[output])
        start = first[output] - offsets[band] - origin
        matrices[band, start : start + taps, output % _BAND] = quantised[output, :taps]
    return _Pass(begin, end, origin, stride, matrices)


def _bicubic(x: Floats) -> Floats:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, eq. 15)."""
    a = -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _bilinear(x: Floats) -> Floats:
    return np.where(x < 1.0, 1.0 - x, 0.0)


_FILTERS: Final = {"bicubic": _bicubic, "bilinear": _bilinear}
