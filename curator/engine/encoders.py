"""Further encoders of a run: each embeds the same pixels into a column of its own, and scores what names it.

Knows no file and no thread; the run's own encoder is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Protocol

from curator.annotators import DeviceEncoder
from curator.config import Config
from curator.data import ColumnSpec, ColumnValues, Embeddings, Preprocess
from curator.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from curator.encoder import Encoder


class FurtherEncoder(DeviceEncoder, Protocol):
    """An encoder that sees the pixels of another."""

    @property
    def preprocess(self) -> Preprocess: ...

    def embed_pixels(self, pixels: Tensor) -> Tensor: ...

    def provenance(self) -> dict[str, str]: ...


class Opened(Protocol):
    """What heads and annotators have in common once they are ready."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def columns(self) -> tuple[ColumnSpec, ...]: ...

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]: ...


def embedding_column(name: str, dim: int = 0) -> ColumnSpec:
    """The column of the further encoder ``name``, of ``dim`` numbers; 0 where no encoder was opened yet."""
    return ColumnSpec(f"{name}_embedding", "vector", f"Image embedding of unit norm by the encoder {name}", dim)


class Further:
    """An encoder, its column, and the heads and annotators that score its vectors instead of the run's own.

    A run over stored embeddings brings the vectors (``Embeddings.further``); then the column stays as it is.
    """

    def __init__(self, name: str, encoder: FurtherEncoder, scorers: Sequence[Opened], *, embeds: bool) -> None:
        self.name = name
        self.encoder = encoder
        self.digest = encoder.digest
        self.scorers = tuple(scorers)
        self._column = embedding_column(name, encoder.dim) if embeds else None
        own = () if self._column is None else (self._column,)
        self.columns = (*own, *(column for each in scorers for column in each.columns))

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        import torch

        values: dict[str, ColumnValues] = {}
        if self._column is None:
            vectors = embeddings.further[self.name]
        else:
            assert embeddings.pixels is not None
            vectors = self.encoder.embed_pixels(torch.stack([torch.from_numpy(pixels) for pixels in embeddings.pixels]))
            values[self._column.name] = vectors.float().cpu().numpy()
        own = replace(embeddings, vectors=vectors, patches=None)
        for each in self.scorers:
            values.update(each(own))
        return values


def open_further(config: Config, encoder: Encoder, names: Sequence[str]) -> dict[str, Encoder]:
    """The further encoders ``names`` of the config, on the device of ``encoder``.

    ConfigError where one of them must see other pixels than ``encoder``: a worker decodes each image once.
    """
    from curator.encoder import Encoder

    opened = {}
    for settings in config.encoders:
        if settings.name not in names:
            continue
        other = Encoder.open(
            settings.encoder,
            settings.pretrained,
            precision=settings.precision,
            device=str(encoder.device),
            cache_dir=config.encoder.cache_dir,
        )
        ours, theirs = (_geometry(each.preprocess) for each in (encoder, other))
        if ours != theirs:
            raise ConfigError(
                f"encoder {settings.name!r} ({other.name}) sees {theirs}, the run's own ({encoder.name}) {ours}: each "
                "image is decoded once; label with that encoder in a run of its own"
            )
        opened[settings.name] = other
    return opened


def _geometry(preprocess: Preprocess) -> Mapping[str, object]:
    """What of a transform decides pixels. Mean and deviation do not: each encoder applies its own."""
    return {name: value for name, value in asdict(preprocess).items() if name not in ("mean", "std")}


def further_provenance(opened: Sequence[object]) -> dict[str, str]:
    """What a footer says of further encoders: every item of theirs with ``.NAME`` behind its key."""
    return {
        f"{key}.{each.name}": value
        for each in opened
        if isinstance(each, Further)
        for key, value in each.encoder.provenance().items()
        if key in ("encoder", "encoder_digest", "precision", "logit_scale", "logit_bias")
    }
