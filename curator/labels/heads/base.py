"""Owns what every head is: a label set in, columns out. Knows no scoring method."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from curator.annotators import TextEncoder
from curator.data import COLUMN_NAME, ColumnSpec, ColumnValues, Embeddings, TextBank
from curator.errors import ConfigError
from curator.labels.vocabulary import Vocabulary
from curator.storage.base import Storage


@dataclass(frozen=True)
class LabelSetSpec:
    """One label set: what is scored (``vocabulary``, ``templates``), by which head, and how it decides.

    ``family`` auto is sigmoid where the encoder has a logit bias, else softmax. ``options`` are the head's own;
    ``abstain`` says by what score any head abstains from foreign images (``heads/abstaining.py``), empty for none.
    """

    name: str
    vocabulary: Vocabulary
    templates: tuple[str, ...] = ("{}",)
    head: str = "zero_shot"
    family: Literal["auto", "softmax", "sigmoid"] = "auto"
    top_k: int = 5
    min_score: float = 0.0
    min_margin: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    abstain: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"label set {self.name!r}, head {self.head}"

    def __post_init__(self) -> None:
        if not COLUMN_NAME.fullmatch(self.name):
            raise ConfigError(f"label set {self.name!r} must be snake_case: it becomes the name of a column")
        if self.top_k < 1:
            raise ConfigError(f"label set {self.name!r}: top_k is {self.top_k}; it must be at least 1")
        if self.family not in ("auto", "softmax", "sigmoid"):
            raise ConfigError(f"label set {self.name!r}: family {self.family!r} is not auto, softmax or sigmoid")


class Head(ABC):
    """Scores the images of a batch against one label set. Cheap to construct: all text was encoded before.

    A subclass states its columns, prepares its text banks (once, under the eye of the cache) and scores batches.
    """

    OPTIONS: ClassVar[frozenset[str]] = frozenset()
    """The keys that ``LabelSetSpec.options`` may have for this head."""

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        """``spec`` with every file that its options name replaced by what the file holds; called by the driver alone.

        Raises ConfigError for files that are missing or say nonsense. By default no option names a file.
        """
        return spec

    @classmethod
    @abstractmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        """The columns that the head will add for ``spec``, known without an encoder."""

    @classmethod
    @abstractmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        """The text banks that the head needs, by the role they play in it. The only step that uses an encoder."""

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        """``scale`` and ``bias`` are the encoder's: the factor exp(logit_scale) and, for a sigmoid model, its bias."""
        self.name = spec.name
        self.columns = self.columns_of(spec)
        settings = {
            "head": spec.head,
            "family": spec.family,
            "decision": [spec.top_k, spec.min_score, spec.min_margin],
            "options": dict(spec.options),
            "abstain": dict(spec.abstain),
            "banks": {role: bank.digest for role, bank in banks.items()},
            "scale": scale,
            "bias": bias,
        }
        self.digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()

    @abstractmethod
    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        """Values for every one of ``columns``, aligned with the B rows of ``embeddings``, as numpy."""
