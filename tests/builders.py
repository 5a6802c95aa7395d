"""Test data for every room: images, encoded bytes, tars. Owns no expectation and knows no room of curator."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def make_image(width: int = 64, height: int = 48, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A photo-like picture: gradients, the edges of a few shapes and sensor noise; the same for the same seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / max(width - 1, 1), y / max(height - 1, 1)
    planes = []
    for _ in range(3):
        a, b, c, d = rng.uniform(-1, 1, 4)
        plane = a * x + b * y + 0.5 * np.sin(6 * (c * x + d * y) + a)
        for _ in range(3):
            centre_x, centre_y, radius, step = rng.uniform(0, 1, 4)
            plane += (step - 0.5) * (((x - centre_x) ** 2 + (y - centre_y) ** 2) < (0.4 * radius) ** 2)
        planes.append(plane)
    pixels = 127 + 70 * np.stack(planes, axis=-1) + rng.normal(0, 4, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """``image`` as bytes in one of Pillow's formats."""
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def make_jpeg(width: int = 64, height: int = 48, *, seed: int = 0, quality: int = 90) -> bytes:
    return encode(make_image(width, height, seed=seed), "JPEG", quality=quality)


def make_png(width: int = 64, height: int = 48, *, seed: int = 0, mode: str = "RGB") -> bytes:
    return encode(make_image(width, height, seed=seed, mode=mode), "PNG")


def make_webp(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    return encode(make_image(width, height, seed=seed), "WEBP", quality=80)


def make_samples(count: int, *, seed: int = 0, width: int = 64, height: int = 48) -> list[tuple[str, dict[str, bytes]]]:
    """``count`` samples (key, fields) with an image each (jpg, png, webp in turn), a caption and a json."""
    makers = [("jpg", make_jpeg), ("png", make_png), ("webp", make_webp)]
    samples = []
    for index in range(count):
        extension, make = makers[index % len(makers)]
        fields = {
            extension: make(width, height, seed=seed + index),
            "txt": f"picture {index} of seed {seed}".encode(),
            "json": json.dumps({"number": index}).encode(),
        }
        samples.append((f"{index:06d}", fields))
    return samples


def tar_bytes(
    members: Iterable[tuple[str, bytes]], *, format: int = tarfile.USTAR_FORMAT, compress: bool = False
) -> bytes:
    """A tar of named members in the order given, written by Python's tarfile; ``compress`` gzips it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), 1) if compress else buffer.getvalue()


def members_of(samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> list[tuple[str, bytes]]:
    """The members (name, content) of samples, sample by sample."""
    return [(f"{key}.{extension}", content) for key, fields in samples for extension, content in fields.items()]


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> Path:
    """A WebDataset shard on disk; a name ending in gz is gzipped. Returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members_of(samples), compress=path.name.endswith("gz")))
    return path
