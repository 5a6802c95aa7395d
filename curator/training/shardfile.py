"""Own the writing of well-formed, reproducible WebDataset shards from pictures. It refuses to choose the pictures."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

MTIME = 1_700_000_000
"""Every member bears this modification time (seconds since 1970), so that the same samples give the same bytes."""


@dataclass(frozen=True)
class Drawn:
    """One sample to write: image bytes with the ending of their format, the caption, and the json metadata."""

    key: str
    ending: str
    image: bytes
    caption: str
    metadata: Mapping[str, Any]


def encode(image: Image.Image, ending: str) -> bytes:
    """The picture as "jpg" (on white, quality 88), "png" or "webp" (quality 85, alpha kept)."""
    buffer = io.BytesIO()
    if ending == "jpg":
        white = Image.new("RGBA", image.size, "white")
        flat = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        flat.save(buffer, "JPEG", quality=88)
    elif ending == "png":
        image.save(buffer, "PNG", compress_level=6)
    elif ending == "webp":
        image.save(buffer, "WEBP", quality=85, method=2)
    else:
        raise ValueError(f"{ending}: not an image ending that is written here; use jpg, png or webp")
    return buffer.getvalue()


def write_shard(path: Path, samples: Iterable[Drawn]) -> int:
    """Write one shard; samples stand in the order given, their members adjacent (image, json, txt). Returns samples."""
    count = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            text = json.dumps(dict(sample.metadata), sort_keys=True, ensure_ascii=False).encode()
            members = ((sample.ending, sample.image), ("json", text), ("txt", sample.caption.encode()))
            for ending, content in members:
                member = tarfile.TarInfo(f"{sample.key}.{ending}")
                member.size, member.mtime, member.mode = len(content), MTIME, 0o644
                tar.addfile(member, io.BytesIO(content))
            count += 1
    return count


def split(samples: Sequence[Drawn], per_shard: int) -> list[Sequence[Drawn]]:
    """Runs of `per_shard` samples; the last one may be shorter."""
    return [samples[start : start + per_shard] for start in range(0, len(samples), per_shard)]
