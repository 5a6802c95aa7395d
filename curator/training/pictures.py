"""Own the turning of source pictures (PNG, WebP, SVG, icon sets) into square RGBA thumbnails.

It refuses to know what a picture shows: names and captions are for `emoji`, `clipart` and `captions`.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from curator.errors import ConfigError

MAX_PIXELS = 24_000_000
"""Larger pictures are left out: openclipart holds PNGs of hundreds of megapixels."""

Thumbnail = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One source picture: `entity` is what it shows, `design` which set it comes from; exactly one of `path`, `svg`."""

    entity: str
    design: str
    path: Path | None = None
    svg: str | None = None


def icon_svgs(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and complete SVG text of every icon of an unpacked iconify package."""
    icons = json.loads((folder / "icons.json").read_text())
    for name, icon in icons["icons"].items():
        width = icon.get("width", icons.get("width", 16))
        height = icon.get("height", icons.get("height", 16))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        yield (
            name,
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" '
            f'width="{width}" height="{height}">{icon["body"]}</svg>',
        )


def open_picture(picture: Picture, side: int) -> Image.Image:
    """The picture as RGBA, its longer side at most `side` pixels (vectors are drawn at exactly that size).

    Raises OSError for a file that is no picture, is cut, or holds more than MAX_PIXELS.
    """
    svg = picture.svg
    if picture.path is not None and picture.path.suffix == ".svg":
        svg = picture.path.read_text(encoding="utf-8")
    if svg is not None:
        return _draw(svg, side)
    assert picture.path is not None
    with Image.open(picture.path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise OSError(f"{picture.path}: {image.width}x{image.height} is over {MAX_PIXELS} pixels")
        full: Image.Image = image.convert("RGBA")
    if max(full.size) > side:
        full = _shrink(full, side)
    return full


def _draw(svg: str, side: int) -> Image.Image:
    try:
        resvg: Any = importlib.import_module("resvg_py")
    except ImportError as error:
        raise ConfigError("resvg_py is not installed; `pip install resvg_py` to draw the SVG designs") from error
    try:
        png: bytes = resvg.svg_to_bytes(svg_string=svg, width=side, skip_system_fonts=True)
    except ValueError as error:
        raise OSError(f"not an SVG that can be drawn: {error}") from error
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return _shrink(image, side) if max(image.size) > side else image


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """Scale an RGBA picture so that its longer side is `side`, with premultiplied alpha so that no fringe bleeds in."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return (
        image.convert("RGBa")
        .resize(size, Image.Resampling.BOX if scale < 0.25 else Image.Resampling.LANCZOS)
        .convert("RGBA")
    )


def thumbnail(picture: Picture, side: int) -> Thumbnail | None:
    """The picture centred on a transparent square, uint8 [side, side, 4]; None where it cannot be used."""
    try:
        image = open_picture(picture, side)
    except (OSError, SyntaxError, ValueError):
        return None
    if max(image.size) < side:
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.convert("RGBa").resize(size, Image.Resampling.BICUBIC).convert("RGBA")
    canvas = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    pixels = np.asarray(canvas, dtype=np.uint8)
    return pixels if pixels[..., 3].max() > 0 else None


def _thumbnail_job(job: tuple[Picture, int]) -> Thumbnail | None:
    return thumbnail(*job)


def thumbnails(pictures: list[Picture], side: int, processes: int = 2) -> tuple[Thumbnail, list[Picture]]:
    """Thumbnails uint8 [N, side, side, 4] of the pictures that can be used, in order, and those pictures."""
    Image.MAX_IMAGE_PIXELS = None
    with ProcessPoolExecutor(processes) as pool:
        drawn = list(pool.map(_thumbnail_job, [(picture, side) for picture in pictures], chunksize=32))
    kept = [picture for picture, pixels in zip(pictures, drawn, strict=True) if pixels is not None]
    return np.stack([pixels for pixels in drawn if pixels is not None]), kept
