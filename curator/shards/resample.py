"""Pillow's antialiased 8-bit resize of only the pixels that a crop keeps, bit for bit. Knows arrays and no decoder.

Pillow filters rows, rounds to 8 bits, then filters columns, both with coefficients of 22 fractional bits
(``src/libImaging/Resample.c``). A pass is a banded matrix product, which BLAS does several times faster than Pillow's
scalar loops. The products run in float32; where a sum lies within the rounding error of a half, and so might round
the other way, it is done again in float64, in which every such sum is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curator.shards.geometry import Axis, Geometry

Floats: TypeAlias = NDArray[Any]

_PRECISION_BITS: Final = 22
_SUPPORT: Final = {"bicubic": 2.0, "bilinear": 1.0}
_BAND: Final = 16
_CHUNK_ROWS: Final = 128
_FLOAT32_TAPS: Final = 256
_REPAIR_AT_ONCE: Final = 4096


class _Band(NamedTuple):
    """Outputs ``first`` to ``last`` as a product of the inputs ``begin`` to ``end`` with ``matrix`` [end-begin, n]."""

    first: int
    last: int
    begin: int
    end: int
    matrix: Floats


class _Pass(NamedTuple):
    """One axis. ``begin`` and ``end`` bound the inputs that matter; ``starts`` [n] and ``taps`` [n, k] are exact.

    ``doubt`` bounds the rounding error of a float32 sum; 0 where the products run in float64 (``dtype``).
    """

    begin: int
    end: int
    bands: tuple[_Band, ...]
    starts: NDArray[np.intp]
    taps: NDArray[np.float64]
    doubt: float
    dtype: type

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
    if columns_first and rows is not None:
        lines = _along_rows(_along_columns(pixels, rows), x, columns)
    else:
        lines = _along_rows(pixels, x, columns)
        if rows is not None:
            lines = _along_columns(lines, rows)
    out = np.empty((3, y.target, x.target), np.uint8)
    if (x.kept, y.kept) != (x.target, y.target):
        out.fill(geometry.fill)
    kept = out[:, y.place : y.place + y.kept, x.place : x.place + x.kept]
    np.copyto(kept, lines.transpose(1, 0, 2), casting="unsafe")
    return out


def _along_rows(pixels: NDArray[Any], axis: Axis, step: _Pass | None) -> Floats:
    """Values [rows, width, 3] to whole numbers [rows, 3, kept] in float32."""
    if step is None:
        kept: Floats = pixels[:, axis.start : axis.start + axis.kept].transpose(0, 2, 1).astype(np.float32)
        return kept
    rows = len(pixels)
    lines = np.empty((rows * 3, axis.kept), np.float32)
    columns = pixels[:, step.begin : step.end].transpose(0, 2, 1)
    source: Floats = np.empty((min(rows, _CHUNK_ROWS), 3, step.end - step.begin), step.dtype)
    sums: Floats = np.empty((len(source) * 3, axis.kept), step.dtype)
    doubtful = []
    for row in range(0, rows, _CHUNK_ROWS):
        height = min(_CHUNK_ROWS, rows - row)
        np.copyto(source[:height], columns[row : row + height])
        flat, out = source[:height].reshape(height * 3, -1), sums[: height * 3]
        for band in step.bands:
            np.matmul(flat[:, band.begin : band.end], band.matrix, out=out[:, band.first : band.last])
        doubtful.append(_round(out, lines[row * 3 : (row + height) * 3], step.doubt) + row * 3 * axis.kept)
    for some in _portions(np.concatenate(doubtful)):
        line, output = np.divmod(some, axis.kept)
        lines[line, output] = step.exact(output, columns[line // 3, line % 3, step.places(output)])
    return lines.reshape(rows, 3, axis.kept)


def _along_columns(values: NDArray[Any], step: _Pass) -> Floats:
    """Values [rows, m, n] to whole numbers [kept, m, n] in float32; ``values`` begins at ``step.begin``."""
    rows, m, n = values.shape
    source = values.reshape(rows, m * n)
    sums: Floats = np.empty((len(step.starts), m * n), step.dtype)
    for band in step.bands:
        window: Floats = source[band.begin : band.end].astype(step.dtype, copy=False)
        np.matmul(band.matrix.T, window, out=sums[band.first : band.last])
    lines = np.empty(sums.shape, np.float32)
    for some in _portions(_round(sums, lines, step.doubt)):
        output, column = np.divmod(some, m * n)
        lines[output, column] = step.exact(output, source[step.places(output), column])
    return lines.reshape(-1, m, n)


def _round(sums: Floats, out: Floats, doubt: float) -> NDArray[np.intp]:
    """``sums`` to the nearest whole numbers from 0 to 255, halves up, into ``out``; destroys ``sums``.

    Returns the flat indices of the sums that are within ``doubt`` of the next whole number.
    """
    sums += 0.5
    whole = np.floor(sums)
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
    bands = tuple(_band(quantised, first - begin, last - begin, lower, dtype) for lower in range(0, axis.kept, _BAND))
    return _Pass(begin, end, bands, first - begin, quantised, 0.0 if exact else error, dtype)


def _band(weights: Floats, first: Floats, last: Floats, lower: int, dtype: type) -> _Band:
    upper = min(lower + _BAND, len(weights))
    begin, end = int(first[lower]), int(last[upper - 1])
    matrix: Floats = np.zeros((end - begin, upper - lower), dtype)
    for output in range(lower, upper):
        taps = int(last[output] - first[output])
        matrix[first[output] - begin : last[output] - begin, output - lower] = weights[output, :taps]
    return _Band(lower, upper, begin, end, matrix)


def _bicubic(x: Floats) -> Floats:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, eq. 15)."""
    a = -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _bilinear(x: Floats) -> Floats:
    return np.where(x < 1.0, 1.0 - x, 0.0)


_FILTERS: Final = {"bicubic": _bicubic, "bilinear": _bilinear}
