"""Stand-ins for the encoder, the heads and the decoder, whose results tell which sample they came from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import numpy as np
import torch

from curator.data import ColumnSpec, ColumnValues, Decoded, Embeddings, Sample
from curator.errors import SampleError

DIM = 4
COLUMNS = (ColumnSpec("number", "score", "what the pixels say"), ColumnSpec("captions", "strings", "the caption"))


def engine_threads() -> set[threading.Thread]:
    """The engine's own: a library may begin one of its own at any time."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("curator-")}


class FakeEncoder:
    """The vector of an image is its first pixel's value. ``before`` is called with each batch's numbers."""

    dim = DIM

    def __init__(self, before: Callable[[list[int]], object] = lambda numbers: None) -> None:
        self.before = before
        self.batches: list[list[int]] = []

    def embed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.dtype == torch.uint8
        assert pixels.ndim == 4
        numbers = pixels[:, 0, 0, 0].tolist()
        self.batches.append(numbers)
        self.before(numbers)
        return torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, DIM).contiguous()


class EchoHead:
    """Gives every row its number back, and its caption."""

    columns = COLUMNS

    def __call__(self, embeddings: Embeddings) -> Mapping[str, ColumnValues]:
        return {
            "number": embeddings.vectors[:, 0].numpy().copy(),
            "captions": [[caption] if caption else [] for caption in embeddings.captions],
        }


def sample(index: int, number: int, *, kind: str = "ok") -> Sample:
    """A sample whose image is ``kind`` and its number. ``kind`` says what ``FakeDecoder`` makes of it."""
    fields = {"txt": f"caption {number}".encode()}
    if kind != "no_image":
        fields["jpg"] = f"{kind} {number}".encode()
    return Sample(f"k{index}", index, 512 * index, fields)


class FakeDecoder:
    """ok | bad (a reject) | crash (an exception that nobody foresaw) | endless (returns when ``release`` is set)."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def __call__(self, data: bytes) -> Decoded:
        kind, number = data.decode().split()
        if kind == "bad":
            raise SampleError("truncated_image", f"image {number}")
        if kind == "crash":
            raise MemoryError(f"image {number}")
        if kind == "endless":
            self.release.wait()
        return Decoded(np.full((3, 2, 2), int(number), np.uint8), 20, 10, "JPEG")
