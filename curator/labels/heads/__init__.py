"""The heads by name. Owns the registry and how a head comes to be; each method lives in its own module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from curator.annotators import ScoringEncoder
from curator.data import ColumnSpec, TextBank
from curator.errors import ConfigError, nearest
from curator.labels.heads.abstaining import abstaining
from curator.labels.heads.autoclip import AutoClipHead
from curator.labels.heads.base import Head, LabelSetSpec
from curator.labels.heads.calibrated import CalibratedHead
from curator.labels.heads.chils import ChilsHead
from curator.labels.heads.context import IdealWordsHead, PerceptionClipHead
from curator.labels.heads.cupl import CuplHead
from curator.labels.heads.dclip import DclipHead, WaffleHead
from curator.labels.heads.local import DisclipHead, FuddHead
from curator.labels.heads.loki import LokiHead
from curator.labels.heads.roboshot import RoboShotHead
from curator.labels.heads.tags import TagsHead
from curator.labels.heads.trees import RelativesHead, SmoothHead, TreeHead
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.labels.heads.zpe import ZpeHead
from curator.options import fault
from curator.storage.base import Storage

__all__ = [
    "HEADS",
    "Head",
    "LabelSetSpec",
    "build_head",
    "head_columns",
    "prepare_heads",
    "read_spec",
]

HEADS: dict[str, type[Head]] = {
    "zero_shot": ZeroShotHead,
    "calibrated": CalibratedHead,
    "tags": TagsHead,
    "zpe": ZpeHead,
    "autoclip": AutoClipHead,
    "cupl": CuplHead,
    "dclip": DclipHead,
    "waffle": WaffleHead,
    "fudd": FuddHead,
    "disclip": DisclipHead,
    "chils": ChilsHead,
    "tree": TreeHead,
    "smooth": SmoothHead,
    "relatives": RelativesHead,
    "loki": LokiHead,
    "perceptionclip": PerceptionClipHead,
    "ideal_words": IdealWordsHead,
    "roboshot": RoboShotHead,
}


def read_spec(spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
    """``spec`` with the files that its options name read, for workers. ConfigError for unknown heads and options."""
    return _head_class(spec).read(spec, storage)


def head_columns(spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
    """The columns that ``spec`` adds to every row, known without an encoder. ConfigError for an unknown head."""
    return _head_class(spec).columns_of(spec)


def prepare_heads(
    specs: Sequence[LabelSetSpec], encoder: ScoringEncoder, *, cache_dir: str | Path | None = None
) -> tuple[Head, ...]:
    """A head per label set. Text banks come from the cache where any process of this node has built them before.

    Raises ConfigError for unknown heads and options, and where two label sets would write the same column.
    """
    owners: dict[str, str] = {}
    for spec in specs:
        for column in head_columns(spec):
            if column.name in owners:
                raise ConfigError(f"label sets {owners[column.name]!r} and {spec.name!r} both write {column.name!r}")
            owners[column.name] = spec.name
    scale, bias = encoder.logit_scale, encoder.logit_bias
    banks = [_head_class(spec).prepare(spec, encoder, cache_dir) for spec in specs]
    return tuple(build_head(spec, own, scale=scale, bias=bias) for spec, own in zip(specs, banks, strict=True))


def build_head(spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> Head:
    """The head of ``spec`` from banks that were prepared before: no encoder, no file. Raises ConfigError."""
    return _head_class(spec)(spec, banks, scale=scale, bias=bias)


def _head_class(spec: LabelSetSpec) -> type[Head]:
    if spec.head not in HEADS:
        raise ConfigError(f"label set {spec.name!r}: head {spec.head!r} is not known; {nearest(spec.head, HEADS)}")
    head = HEADS[spec.head]
    for key in spec.options:
        if key not in head.OPTIONS:
            raise fault(spec, f"has no option {key!r}; {nearest(key, head.OPTIONS)}")
    return abstaining(head) if spec.abstain else head
