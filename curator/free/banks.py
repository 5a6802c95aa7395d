"""Owns how a vocabulary-free method comes by its bank of captions. Knows no method, and of banks only what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from curator.annotators import AnnotatorSpec, Means
from curator.free import options as read
from curator.storage.base import Storage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

EMBEDDED = "embedded"


class Captions(Protocol):
    """What a method asks of a bank of N captions. An index is -1 where a bank has found fewer than k."""

    def search(self, queries: Tensor, k: int) -> tuple[Any, Any]:
        """Scores and indices, both [B, k], of the captions nearest to unit vectors [B, D], best first."""
        ...

    def texts(self, indices: NDArray[np.int64]) -> Sequence[str]: ...

    def vectors(self, indices: NDArray[np.int64]) -> Any:
        """The captions' unit vectors [len(indices), D]."""
        ...


def bank_digest(spec: AnnotatorSpec, storage: Storage) -> str:
    """The digest of the bank that the option ``bank`` names, ``embedded`` by default. Driver only; ConfigError."""
    from curator.captions import CaptionBank

    return CaptionBank.digest_at(read.text(spec, "bank", EMBEDDED), storage)


def open_bank(spec: AnnotatorSpec, means: Means) -> Captions:
    """The bank itself, mapped into memory. ConfigError where another encoder made it than the run's."""
    from curator.captions import CaptionBank

    bank = CaptionBank.open(read.text(spec, "bank", EMBEDDED), means.storage, means.cache_dir)
    if bank.encoder_digest != means.encoder.digest:
        raise read.fault(
            spec,
            f"the caption bank {spec.options.get('bank', EMBEDDED)} was made by an encoder ({bank.encoder_digest}) "
            f"other than the run's ({means.encoder.digest}); build one with `curator bank build` and this encoder",
        )
    return bank
