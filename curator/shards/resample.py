"""Pillow's antialiased 8-bit resize of only the pixels that a crop keeps, bit for bit. Knows arrays and no decoder.

Pillow filters rows, rounds to 8 bits, then filters columns, both with coefficients of 22 fractional bits
(``src/libImaging/Resample.c``). A pass is a banded matrix product, which BLAS does several times faster than Pillow's
scalar loops. The products run in float32; where a sum lies within the rounding error of a half, and so might round
the other way, it is done again in float64, in which every such sum is exact.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from curator.shards.geometry import Axis, Geometry

Floats: TypeAlias = NDArray[Any]

_PRECISION_BITS: Final = 22
_SUPPORT: Final = {"bicubic": 2.0, "bilinear": 1.0}
_BAND: Final = 16
_CHUNK_NUMBERS: Final = 1 << 17  # of a piece of rows: they stay in a core's cache
_FLOAT32_TAPS: Final = 256
_REPAIR_AT_ONCE: Final = 4096
_KEPT_BYTES: Final = 1 << 23  # of one piece of working memory

_memory = threading.local()


class _Pass(NamedTuple):
    """One axis. ``begin`` and ``end`` bound the inputs that matter; ``starts`` [n] and ``taps`` [n, k] are exact.

    The product is one of ``bands``, each ``_BAND`` outputs wide: band b is the inputs from ``origin + b * stride`` on,
    as many as ``matrices`` [bands, inputs, _BAND] has rows. Bands that are evenly spaced are one call of numpy's, which
    keeps the interpreter lock out of the way. ``doubt`` bounds the rounding error of a float32 sum; 0 where the
    products run in float64 (``dtype``).
    """

    begin: int
    end: int
    origin: int
    stride: int
    matrices: Floats
    starts: NDArray[np.intp]
    taps: NDArray[np.float64]
    doubt: float
    dtype: type

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

    def places(self, outputs: NDArray[np.intp]) -> NDArray[np.intp]:
        """The inputs [k, n] under the taps of some outputs [n]; past the last tap any input will do."""
        tap = np.arange(self.taps.shape[1])[:, None]
        places: NDArray[np.intp] = np.minimum(self.starts[outputs] + tap, self.end - self.begin - 1)
        return places

    def exact(self, outputs: NDArray[np.intp], values: NDArray[Any]) -> Floats:
        """Outputs [n] from the values [k, n] at their ``places``, summed in float64, where nothing is rounded."""
        sums = (values.T * self.taps[outputs]).sum(axis=1)
        whole: Floats = np.clip(np.floor(sums + 0.5), 0, 255)
        return whole


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
    if rows is None:
        lines = _scratch("lines", (y.kept, 3, x.kept), np.float32)
        _along_rows(pixels, x, columns, lines)
    elif columns_first:
        window = _window(rows, 3 * x.source)
        np.copyto(rows.inside(window).reshape(pixels.shape), pixels)
        filtered = _along_columns(window, rows, y.kept).reshape(y.kept, x.source, 3)
        lines = _scratch("window", (y.kept, 3, x.kept), np.float32)
        _along_rows(filtered, x, columns, lines)
    else:
        window = _window(rows, 3 * x.kept)
        _along_rows(pixels, x, columns, rows.inside(window).reshape(len(pixels), 3, x.kept))
        lines = _along_columns(window, rows, y.kept).reshape(y.kept, 3, x.kept)
    out = np.empty((3, y.target, x.target), np.uint8)
    if (x.kept, y.kept) != (x.target, y.target):
        out.fill(geometry.fill)
    kept = out[:, y.place : y.place + y.kept, x.place : x.place + x.kept]
    np.copyto(kept, lines.transpose(1, 0, 2), casting="unsafe")
    return out


def _scratch(name: str, shape: tuple[int, ...], dtype: type) -> Floats:
    """Working memory of this thread, in use again with every image; what stands in it is left over, but finite.

    New memory for every image would cost a tenth of the time: the kernel hands it out page by page, one thread at a
    time.
    """
    count = prod(shape)
    kept = _memory.__dict__
    key = f"{name} {np.dtype(dtype).name}"
    memory: Floats | None = kept.get(key)
    if memory is None or memory.size < count:
        memory = np.zeros(count, dtype)
        if memory.nbytes <= _KEPT_BYTES:
            kept[key] = memory
    return memory[:count].reshape(shape)


def _window(step: _Pass, n: int) -> Floats:
    """Room for the lines [step.width, n] that a pass along the columns reads."""
    return _scratch("window", (step.width, n), np.float32)


def _along_rows(pixels: NDArray[Any], axis: Axis, step: _Pass | None, out: Floats) -> None:
    """Values [rows, width, 3] to whole numbers [rows, 3, kept] in float32."""
    if step is None:
        np.copyto(out, pixels[:, axis.start : axis.start + axis.kept].transpose(0, 2, 1))
        return
    rows, inputs = len(pixels), step.matrices.shape[1]
    lines = out.reshape(rows * 3, axis.kept)
    columns = pixels[:, step.begin : step.end].transpose(0, 2, 1)
    height = min(rows, max(1, _CHUNK_NUMBERS // (3 * step.width)))
    source = _scratch("source", (height, 3, step.width), step.dtype)
    sums = _scratch("sums", (height * 3, step.bands * _BAND), step.dtype)
    windows = as_strided(
        source, (step.bands, height * 3, inputs), (step.stride * source.itemsize, *source.strides[1:]), writeable=False
    )
    results = sums.reshape(height * 3, step.bands, _BAND).transpose(1, 0, 2)
    doubtful = []
    for row in range(0, rows, height):
        count = min(height, rows - row)
        np.copyto(source[:count, :, step.begin - step.origin : step.end - step.origin], columns[row : row + count])
        np.matmul(windows[:, : count * 3], step.matrices, out=results[:, : count * 3])
        found = sums[: count * 3, : axis.kept]
        doubtful.append(_round(found, lines[row * 3 : (row + count) * 3], step.doubt) + row * 3 * axis.kept)
    for some in _portions(np.concatenate(doubtful)):
        line, output = np.divmod(some, axis.kept)
        lines[line, output] = step.exact(output, columns[line // 3, line % 3, step.places(output)])


def _along_columns(values: Floats, step: _Pass, kept: int) -> Floats:
    """Values [width, n] to whole numbers [kept, n] in float32; ``values`` begins at ``step.origin``."""
    source: Floats = values.astype(step.dtype, copy=False)
    n = values.shape[1]
    shape, strides = (step.bands, step.matrices.shape[1], n), (step.stride * source.strides[0], *source.strides)
    windows = as_strided(source, shape, strides, writeable=False)
    sums = _scratch("sums", (step.bands * _BAND, n), step.dtype)
    np.matmul(step.matrices.transpose(0, 2, 1), windows, out=sums.reshape(step.bands, _BAND, n))
    lines = _scratch("lines", (kept, n), np.float32)
    inside = step.inside(source)
    for some in _portions(_round(sums[:kept], lines, step.doubt)):
        output, column = np.divmod(some, n)
        lines[output, column] = step.exact(output, inside[step.places(output), column])
    return lines


def _round(sums: Floats, out: Floats, doubt: float) -> NDArray[np.intp]:
    """``sums`` to the nearest whole numbers from 0 to 255, halves up, into ``out``; destroys ``sums``.

    Returns the flat indices of the sums that are within ``doubt`` of the next whole number.
    """
    sums += 0.5
    whole = _scratch("whole", sums.shape, sums.dtype.type)
    np.floor(sums, out=whole)
    np.clip(whole, 0, 255, out=out, casting="same_kind")
    if not doubt:
        return np.empty(0, np.intp)
    sums -= whole
    sums -= 0.5
    np.abs(sums, out=sums)
    return np.flatnonzero(sums > 0.5 - doubt)


def _portions(doubtful: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    return (doubtful[at : at + _REPAIR_AT_ONCE] for at in range(0, len(doubtful), _REPAIR_AT_ONCE))


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
    dtype, exact = (np.float64, True) if len(tap) > _FLOAT32_TAPS else (np.float32, False)
    # |fl(sum) - sum| <= n u sum|k p| with u = 2^-24 (Higham, Accuracy and Stability, eq. 3.5), and 0.5 is added after
    error = (len(tap) + 2) * 2.0**-24 * 255 * float(np.abs(quantised).sum(axis=1).max()) + 2.0**-15
    firsts, lasts = first[::_BAND], np.append(last[_BAND - 1 :: _BAND], last[-1])[: -(-axis.kept // _BAND)]
    stride = int(firsts[-1] - firsts[0]) // max(len(firsts) - 1, 1)
    offsets = stride * np.arange(len(firsts))
    origin = int((firsts - offsets).min())
    matrices: Floats = np.zeros((len(firsts), int((lasts - offsets).max()) - origin, _BAND), dtype)
    for output in range(axis.kept):
        band, taps = output // _BAND, int(last[output] - first[output])
        start = first[output] - offsets[band] - origin
        matrices[band, start : start + taps, output % _BAND] = quantised[output, :taps]
    return _Pass(begin, end, origin, stride, matrices, first - begin, quantised, 0.0 if exact else error, dtype)


def _bicubic(x: Floats) -> Floats:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, eq. 15)."""
    a = -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _bilinear(x: Floats) -> Floats:
    return np.where(x < 1.0, 1.0 - x, 0.0)


_FILTERS: Final = {"bicubic": _bicubic, "bilinear": _bilinear}
