"""One frozen dataclass per hop of the pipeline. Owns the words of the system and knows no room, file or model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff", "tif"})
UNREAD_EXTENSIONS = frozenset({"avif", "heic", "heif", "jp2", "jxl", "svg", "ppm", "pgm", "exr", "hdr", "psd", "ico"})
"""Of images that Curator does not decode."""


def shard_id(url: str) -> str:
    """The identity of a shard: 16 hexadecimal digits of the SHA-256 of its url. It names the part and the receipt."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def sample_id(url: str, key: str) -> str:
    """The identity of a sample: 32 hexadecimal digits of the SHA-256 of its shard's url and its key."""
    return hashlib.sha256(f"{url}\n{key}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Shard:
    """One WebDataset tar. ``size`` (bytes) and ``etag`` are what the storage said when the manifest was made."""

    url: str
    size: int | None = None
    etag: str | None = None

    @property
    def id(self) -> str:
        return shard_id(self.url)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a shard once. ``attempt`` counts from 1."""

    shard: Shard
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The members of one tar key, as bytes. ``fields`` maps the lower-case extension to the member's content.

    ``index`` counts samples from 0 in shard order; ``offset`` is the byte offset of the image member's content in the
    (decompressed) tar, or of the first member's where the sample has no image. ``fault`` is set by the reader where
    a member had to be left out (``member_too_large``): such a sample is a reject with that reason. ``image`` is the
    extension that the image has by the settings, empty where the first image there is will do.
    """

    key: str
    index: int
    offset: int
    fields: Mapping[str, bytes]
    fault: Reject | None = None
    image: str = ""

    @property
    def image_extension(self) -> str | None:
        """The extension of the member that is the image, or None: the one asked for, else the first by name."""
        if self.image:
            return self.image if self.image in self.fields else None
        return next((extension for extension in self.fields if extension in IMAGE_EXTENSIONS), None)

    @property
    def other_images(self) -> list[str]:
        """The extensions of members that are images by name and are not looked at: ``png``, ``left.jpg``."""
        own = self.image_extension
        return [each for each in self.fields if each != own and each.rsplit(".", 1)[-1] in IMAGE_EXTENSIONS]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """A checkpoint's image transform as data: decode sizes and crops in uint8, the device does mean and std in float.

    ``size`` is (height, width) in pixels; ``resize_mode`` as in open_clip: shortest | longest | squash;
    ``fill_color`` pads for ``longest``.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded image. ``pixels`` is uint8 [3, H, W], ready for the encoder; the rest is of the image as stored."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Embeddings:
    """B images after the encoder, as the heads see them: ``vectors`` float32 [B, D] of unit norm, on the device.

    The rest belongs to the same B samples, in order: ``sizes`` are (width, height) in pixels of the images as stored.
    ``pixels`` are what the encoder saw, uint8 [3, H, W] each; a run that reads no images has none. ``patches`` float32
    [B, h, w, D] are unit vectors of places in the images, where an annotator asked for them.
    """

    vectors: Tensor
    captions: Sequence[str | None]
    metadata: Sequence[bytes | None]
    sizes: Sequence[tuple[int, int] | None] = ()
    pixels: Sequence[NDArray[np.uint8]] | None = None
    patches: Tensor | None = None
    further: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def captioned(self) -> list[tuple[int, str]]:
        """The captions that there are, with their rows."""
        return [(row, caption) for row, caption in enumerate(self.captions) if caption]


COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a column may be called, and so whatever gives its name to one."""


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column that a head adds to every row: name, kind (the schema maps kinds to types) and description.

    ``size`` is how many numbers a vector has; 0 as long as its encoder is not known.
    """

    name: str
    kind: Literal["labels", "flag", "score", "count", "text", "entities", "strings", "vector"]
    description: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Labels:
    """Ranked labels of B rows: ``indices`` int64 and ``scores`` float32 are [B, K], best first.

    Row i has ``counts[i]`` labels; what follows them is padding. ``indices`` point into ``ids`` and ``names``, which
    all rows share.
    """

    ids: Sequence[str]
    names: Sequence[str]
    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EntityTag:
    """One entity of a row: its id, canonical name, the mention that led to it, where it came from, and its score."""

    entity_id: str
    name: str
    mention: str
    source: str
    score: float


# labels -> Labels; flag -> bool [B]; score -> float32 [B] (NaN = null); count -> int64 [B] (negative = null);
# text -> B texts or None; entities, strings -> a sequence of B sequences; vector -> [B, size]
ColumnValues: TypeAlias = (
    "Labels | NDArray[Any] | Sequence[Sequence[EntityTag]] | Sequence[Sequence[str]] | Sequence[str | None]"
)


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a sample is not labelled. ``reason`` is the word users group by."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RowRecord:
    """What is known of one row without the encoder. ``reject`` is None for ``status="ok"``."""

    key: str
    index: int
    offset: int
    width: int | None
    height: int | None
    format: str | None
    sha256: bytes | None
    caption: str | None
    metadata: bytes | None
    reject: Reject | None


@dataclass(frozen=True, slots=True)
class Rows:
    """n finished rows of one shard, in order of index: what the sink writes as (part of) a row group.

    ``vectors`` is float32 [n, D] and ``ok`` bool [n]; a row that is not ok has an undefined vector (written as null)
    and its annotations are empty. ``annotations`` maps each column of the run's heads to values for the n rows.
    """

    shard_url: str
    records: Sequence[RowRecord]
    ok: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    annotations: Mapping[str, ColumnValues]


@dataclass(frozen=True, slots=True)
class TextBank:
    """Named unit vectors: a zero-shot classifier and a vocabulary-free bank are both one of these.

    ``vectors`` is float32 [C, D] of unit norm; ``digest`` identifies names, texts, templates and encoder together. A
    head may make itself a bank whose rows are shorter: the mean of cosines is the product with the plain mean.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    vectors: Tensor
    digest: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a shard is done: created once, after its part. ``seconds`` maps stage to seconds of work in it."""

    shard_id: str
    url: str
    size: int | None
    etag: str | None
    attempt: int
    samples: int
    rows: int
    rejected: int
    reasons: Mapping[str, int]
    part: str
    part_bytes: int
    seconds: Mapping[str, float]
    total_s: float
    config_digest: str
    salvaged: str | None = None
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
