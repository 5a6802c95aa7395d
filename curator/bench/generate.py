"""Shards of photo-like pictures for a bench without data of one's own. Seeded; knows no measuring."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2.functional import to_pil_image

WIDTH, HEIGHT = 512, 384
DIFFERENT = 64


def generate_shards(folder: Path, count: int, *, per_shard: int = 250, seed: int = 0) -> Path:
    """``count`` JPEG samples of 512x384 (64 different pictures in turn) in shards under ``folder``, which is returned.

    Pictures are smooth random fields with some sensor noise: their JPEGs have about the size of a photograph's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pictures = [_picture(rng) for _ in range(min(DIFFERENT, count))]
    for start in range(0, count, per_shard):
        with tarfile.open(folder / f"{start // per_shard:05d}.tar", "w") as tar:
            for number in range(start, min(start + per_shard, count)):
                _add(tar, f"{number:08d}.jpg", pictures[number % len(pictures)])
                _add(tar, f"{number:08d}.txt", f"picture {number}".encode())
    return folder


def _picture(rng: np.random.Generator) -> bytes:
    octaves = [
        torch.nn.functional.interpolate(
            torch.from_numpy(rng.standard_normal((1, 3, 4 * 2**level, 4 * 2**level))),
            size=(HEIGHT, WIDTH),
            mode="bilinear",
        )
        / 1.7**level
        for level in range(7)
    ]
    field = torch.stack(octaves).sum(0)[0] + torch.from_numpy(rng.normal(0, 0.05, (3, HEIGHT, WIDTH)))
    pixels = (128 + 48 * field).clamp(0, 255).to(torch.uint8)
    buffer = io.BytesIO()
    to_pil_image(pixels).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
