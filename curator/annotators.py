"""Owns what a row annotator is: a spec read by the driver, columns known beforehand, values for a batch of images.

Knows no method: those live in the rooms ``free``, ``entities`` and ``scores``, each with its registry ``METHODS``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from curator.data import COLUMN_NAME, ColumnSpec, ColumnValues, Embeddings
from curator.errors import ConfigError, nearest
from curator.storage.base import Storage

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class TextEncoder(Protocol):
    """What a bank needs of an encoder. ``embed_text`` gives unit vectors float32 [N, dim]."""

    @property
    def digest(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed_text(self, texts: Sequence[str]) -> Tensor: ...


class ScoringEncoder(TextEncoder, Protocol):
    """A text encoder that also says how its cosines become logits."""

    @property
    def logit_scale(self) -> float: ...

    @property
    def logit_bias(self) -> float | None: ...


class DeviceEncoder(ScoringEncoder, Protocol):
    """A scoring encoder that says where its vectors are."""

    @property
    def device(self) -> torch.device: ...


class TextVectors:
    """Embeddings of texts, kept from batch to batch: the least recently used leave when ``limit_bytes`` are held.

    The vocabulary of a run's captions and candidates is small beside its images, so that after the first shards next
    to nothing is encoded any more. Safe to call from several threads.
    """

    def __init__(self, encoder: DeviceEncoder, *, limit_bytes: int = 256 * 2**20) -> None:
        self.hits = 0
        self.misses = 0
        self._encoder = encoder
        self._capacity = max(1, limit_bytes // (4 * encoder.dim))
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._matrix: Tensor | None = None
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors float32 [N, dim] of ``texts``, on the encoder's device."""
        import torch

        order = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        with self._lock:
            known = [text for text in order if text in self._slots]
            missing = [text for text in order if text not in self._slots]
            self.hits += len(known)
            self.misses += len(missing)
            vectors = torch.empty(len(order), self._encoder.dim, device=self._encoder.device)
            if known:
                assert self._matrix is not None
                vectors[[order[text] for text in known]] = self._matrix[[self._slots[text] for text in known]]
                for text in known:
                    self._slots.move_to_end(text)
            if missing:
                fresh = self._encoder.embed_text(missing)
                vectors[[order[text] for text in missing]] = fresh
                self._keep(missing[-self._capacity :], fresh[-self._capacity :])
        return vectors[[order[text] for text in texts]]

    def _keep(self, texts: Sequence[str], vectors: Tensor) -> None:
        slots = []
        for text in texts:
            full = len(self._slots) >= self._capacity
            slots.append(self._slots.popitem(last=False)[1] if full else len(self._slots))
            self._slots[text] = slots[-1]
        self._matrix = _grown(self._matrix, max(slots) + 1, vectors, self._capacity)
        self._matrix[slots] = vectors


def _grown(matrix: Tensor | None, rows: int, like: Tensor, limit: int) -> Tensor:
    """``matrix`` with at least ``rows`` rows, doubled where it has to grow."""
    if matrix is not None and len(matrix) >= rows:
        return matrix
    grown = like.new_empty(min(limit, max(1024, 2 * rows)), like.shape[1])
    if matrix is not None:
        grown[: len(matrix)] = matrix
    return grown


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker offers to its annotators. ``cores`` is how many of the CPU's are the worker's."""

    encoder: DeviceEncoder
    texts: TextVectors
    storage: Storage
    cache_dir: str | None
    cores: int


@dataclass(frozen=True)
class AnnotatorSpec:
    """One annotator of a run: the ``name`` that its columns begin with, its ``method`` and the method's ``options``.

    Picklable. After ``Annotator.read`` the options hold contents or digests in place of what files said, so that they
    shape the digest of the run.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"{self.method} {self.name!r}"

    def __post_init__(self) -> None:
        if not COLUMN_NAME.fullmatch(self.name):
            raise ConfigError(f"annotator {self.name!r} must be snake_case: it becomes the name of a column")


def stated(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they shape rows: where a file lies says nothing once its digest stands beside it."""
    return {key: value for key, value in options.items() if f"{key}_digest" not in options}


class Annotator(ABC):
    """Gives every image of a batch values for its columns. Called by one thread at a time."""

    OPTIONS: ClassVar[frozenset[str]] = frozenset()
    """The keys that ``AnnotatorSpec.options`` may have for this method."""

    NEEDS: ClassVar[frozenset[str]] = frozenset()
    """What of ``Embeddings`` only a run that reads images can give: ``pixels``, ``patches``."""

    READS_CAPTIONS: ClassVar[bool] = False
    """Whether the method says nothing of a sample without a caption."""

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        """``spec`` checked, small files that its options name read, digests of large ones added. Driver only.

        Raises ConfigError for files that are missing or say nonsense. By default no option names a file.
        """
        return spec

    @classmethod
    @abstractmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        """The columns that the method will add for ``spec``, known without an encoder."""

    @classmethod
    @abstractmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Annotator:
        """The annotator with its banks and weights loaded, in the worker. Raises ConfigError."""

    def __init__(self, spec: AnnotatorSpec, encoder: ScoringEncoder) -> None:
        self.name = spec.name
        self.columns = self.columns_of(spec)
        settings = {
            "method": spec.method,
            "options": stated(spec.options),
            "encoder": [encoder.digest, encoder.precision, encoder.logit_scale, encoder.logit_bias],
        }
        self.digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()

    @abstractmethod
    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        """Values for every one of ``columns``, aligned with the B rows of ``embeddings``, as numpy."""


def method_of(spec: AnnotatorSpec, methods: Mapping[str, type[Annotator]], section: str) -> type[Annotator]:
    """The class of ``spec.method``. ConfigError for unknown methods and options, with the nearest that are known."""
    place = f"{section} {spec.name!r}"
    if spec.method not in methods:
        raise ConfigError(f"{place}: method {spec.method!r} is not known; {nearest(spec.method, methods)}")
    method = methods[spec.method]
    for key in spec.options:
        if key not in method.OPTIONS:
            raise ConfigError(f"{place}: method {spec.method} has no option {key!r}; {nearest(key, method.OPTIONS)}")
    return method
