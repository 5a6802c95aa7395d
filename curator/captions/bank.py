"""Owns an open caption bank: texts and unit vectors by row, and the search for the nearest. Builds none."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from curator.captions.facts import BankFacts, bank_url, read_facts
from curator.captions.local import bank_cache, localise, read_ahead
from curator.errors import ConfigError
from curator.storage.base import Storage
from curator.storage.urls import redact

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from curator.captions.index import ApproximateSearch
logger = logging.getLogger(__name__)

_FINENESS = {"bfloat16": 0, "float16": 1, "float32": 2}


class BankEncoder(Protocol):
    """What a bank asks of the encoder that it is searched with."""

    @property
    def digest(self) -> str: ...

    @property
    def precision(self) -> str: ...


class CaptionBank:
    """N captions with their unit vectors, mapped into memory and never copied. Open one with ``CaptionBank.open``.

    ``digest`` identifies its content; ``encoder_digest``, ``precision``, ``dim`` and ``count`` say what made it. Safe
    to search from several threads.
    """

    def __init__(self, url: str, facts: BankFacts, paths: dict[str, Path], cache: Path, *, exact: bool) -> None:
        from curator.captions.search import ExactSearch, map_rows

        self.url = url
        self.facts = facts
        self.digest = facts.digest
        self.encoder_digest = facts.encoder_digest
        self.precision = facts.precision
        self.dim = facts.dim
        self.count = facts.count
        path = paths[facts.vectors.name]
        try:
            self._vectors = map_rows(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: is not readable as vectors ({error}); build the bank again") from error
        if tuple(self._vectors.shape) != (facts.count, facts.dim):
            raise ConfigError(
                f"{path}: holds {tuple(self._vectors.shape)} numbers, bank.json tells of {facts.count} x {facts.dim}; "
                "build the bank again"
            )
        self._texts = _Texts(paths[facts.texts.name], facts.count)
        self._exact = ExactSearch(path, cache)
        self._approximate = None if exact or facts.index is None else _index(paths, facts, self._vectors)
        searched = self._exact.files if self._approximate is None else (paths[file.name] for file in facts.files[2:])
        read_ahead([*searched, paths[facts.texts.name], path])

    @classmethod
    def open(
        cls,
        url: str,
        storage: Storage,
        cache_dir: str | Path | None = None,
        *,
        encoder: BankEncoder | None = None,
        exact: bool = False,
    ) -> CaptionBank:
        """The bank at ``url`` (``embedded``: the one in the package); a remote one is downloaded to the cache once.

        ConfigError where there is none, where it is damaged, and where ``encoder`` is not the one that made it.
        ``exact`` passes over an approximate index that the bank may have.
        """
        facts = read_facts(url, storage)
        if encoder is not None:
            require_encoder(url, facts, encoder)
        paths = localise(url, facts, storage, cache_dir)
        return cls(url, facts, paths, bank_cache(facts, cache_dir), exact=exact)

    @staticmethod
    def digest_at(url: str, storage: Storage) -> str:
        """The digest of the bank at ``url``, from ``bank.json`` alone. ConfigError where there is no bank."""
        return read_facts(url, storage).digest

    def __len__(self) -> int:
        return self.count

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The captions nearest to unit vectors ``queries`` float32 [B, D]: scores float32 and rows int64, [B, k].

        Best first, equal scores by row; exact, unless the bank was built with an index. On the queries' device. k is at
        most ``count``; an index may find fewer, whose row is -1 and whose score is -inf.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(f"queries are float32 [B, {self.dim}], not {tuple(queries.shape)}")
        return (self._approximate or self._exact)(queries, k)

    def texts(self, indices: NDArray[np.int64] | Sequence[int] | Tensor) -> list[str]:
        """The captions of these rows."""
        return self._texts(np.asarray(indices, np.int64))

    def vectors(self, indices: NDArray[np.int64] | Sequence[int] | Tensor) -> Tensor:
        """The unit vectors of these rows, float32 [n, D] on the CPU."""
        import torch

        from curator.kernels.vectors import l2_normalize

        return l2_normalize(self._vectors[torch.as_tensor(np.asarray(indices, np.int64))])


def require_encoder(url: str, facts: BankFacts, encoder: BankEncoder) -> None:
    """ConfigError unless ``encoder`` made the bank; precisions that differ are logged, a finer run's as a warning."""
    shown = redact(bank_url(url))
    if encoder.digest != facts.encoder_digest:
        raise ConfigError(
            f"{shown}: this caption bank was made by the encoder {facts.encoder} ({facts.encoder_digest}), not by the "
            f"run's ({encoder.digest}); use that encoder, or build a bank with this one: curator bank build --captions "
            "… --output … --encoder …"
        )
    if encoder.precision != facts.precision:
        coarser = _FINENESS.get(facts.precision, 0) < _FINENESS.get(encoder.precision, 0)
        logger.log(
            logging.WARNING if coarser else logging.INFO,
            "%s: its captions were embedded in %s, the run embeds in %s; scores differ in the third decimal",
            shown, facts.precision, encoder.precision,
        )  # fmt: skip


def _index(paths: dict[str, Path], facts: BankFacts, vectors: Tensor) -> ApproximateSearch:
    from curator.captions.index import ApproximateSearch

    assert facts.index is not None
    return ApproximateSearch(paths[facts.index.file.name], facts.index, vectors)


class _Texts:
    """Rows of an Arrow file of texts, read from the mapped pages as they are asked for."""

    def __init__(self, path: Path, count: int) -> None:
        import pyarrow as pa

        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            columns = [reader.get_batch(number).column("text") for number in range(reader.num_record_batches)]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ConfigError(f"{path}: is not readable as texts ({error}); build the bank again") from error
        self._columns: list[Any] = columns
        self._starts = np.cumsum([0, *(len(column) for column in columns)]).tolist()
        if self._starts[-1] != count:
            raise ConfigError(f"{path}: holds {self._starts[-1]} texts, bank.json tells of {count}; build it again")

    def __call__(self, indices: NDArray[np.int64]) -> list[str]:
        found = []
        for index in indices.reshape(-1).tolist():
            if not 0 <= index < self._starts[-1]:
                raise IndexError(f"row {index} of a bank of {self._starts[-1]} captions")
            batch = bisect_right(self._starts, index) - 1
            found.append(self._columns[batch][index - self._starts[batch]].as_py())
        return found
