"""Owns how a vocabulary-free method comes by its bank of captions. Knows no method, and of banks only what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from curator import options as read
from curator.annotators import AnnotatorSpec, Means
from curator.storage.base import Storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

EMBEDDED = "embedded"


class Captions(Protocol):
    """What a method asks of a bank of N captions."""

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores and rows, both [B, min(k, N)], of the captions nearest to unit vectors [B, D], best first.

        The row is -1 where fewer were found.
        """
        ...

    def texts(self, indices: NDArray[np.int64]) -> Sequence[str]: ...

    def vectors(self, indices: NDArray[np.int64]) -> Tensor:
        """The unit vectors of these rows, float32 [n, D]."""
        ...


def bank_digest(spec: AnnotatorSpec, storage: Storage) -> str:
    """The digest of the bank that the option ``bank`` names, ``embedded`` by default. Driver only; ConfigError."""
    from curator.captions import CaptionBank

    return CaptionBank.digest_at(read.text(spec, "bank", EMBEDDED), storage)


def open_bank(spec: AnnotatorSpec, means: Means) -> Captions:
    """The bank itself, mapped into memory. ConfigError where it was replaced, or made by another encoder."""
    from curator.captions import CaptionBank

    url, exact = read.text(spec, "bank", EMBEDDED), read.flag(spec, "exact", default=False)
    bank = CaptionBank.open(url, means.storage, means.cache_dir, encoder=means.encoder, exact=exact)
    read.unchanged(spec, "bank", bank.digest)
    return bank
