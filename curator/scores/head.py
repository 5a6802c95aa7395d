"""Owns the columns of a score head over the embedding: from its file to a score for every image. Knows no text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curator.annotators import Annotator, AnnotatorSpec, DeviceEncoder, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.errors import ConfigError
from curator.options import content, fault, named, number, package, text, unchanged, whole
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

BUILTIN = "builtin:"
ANY = "any"
_FOLDER = Path(__file__).with_name("heads")


class ScoreHead(Annotator):
    """``NAME`` (and ``NAME_SUFFIX`` for a head with several columns): a linear or multi-layer head's scores.

    ``file`` is a head (safetensors as ``head_files`` describes it), an ``.onnx`` model with one input [B, D] and an
    output [B] or [B, N], or ``builtin:NAME``. It is bound to the encoder whose digest it states; ``encoder_digest``
    states it for a file that does not, or with ``any`` binds it to none. ``output`` is which number of an ONNX model's
    output counts. ``threshold`` adds ``NAME_over``: whether the score of ``NAME`` reaches it.
    """

    OPTIONS = frozenset({"file", "encoder_digest", "output", "threshold"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        place = spec.place
        url = named(spec, "file", "a head: safetensors, onnx, or builtin:photo")
        data = _content(spec, storage)
        number(spec, "threshold", None)
        index = whole(spec, "output", 0, low=0)
        if url.lower().endswith(".onnx"):
            stated, columns = _OnnxModel(data, index, place).encoder_digest, {"": "Score of an ONNX head"}
        else:
            from curator.scores.head_files import read_head

            if "output" in spec.options:
                raise fault(spec, "output is for ONNX; a safetensors head names its columns itself")
            head = read_head(data, f"{place}: {url}")
            stated, columns = head.encoder_digest, {suffix: text for suffix, (_, text) in head.columns.items()}
        bound = text(spec, "encoder_digest", stated)
        if not bound:
            raise fault(
                spec,
                f"{url} does not say whose embeddings it is for; give option encoder_digest "
                "(`curator status RUN --json` names that of a run), or 'any' to take the risk",
            )
        found = {"file_digest": hashlib.sha256(data).hexdigest(), "encoder_digest": bound, "columns": columns}
        return replace(spec, options={**spec.options, **found})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        texts: Mapping[str, str] = spec.options["columns"]
        columns = [ColumnSpec(_name(spec.name, suffix), "score", text) for suffix, text in texts.items()]
        threshold = spec.options.get("threshold")
        if threshold is not None:
            columns.append(
                ColumnSpec(f"{spec.name}_over", "flag", f"Whether {columns[0].name} is at least {threshold}")
            )
        return tuple(columns)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> ScoreHead:
        place, url = spec.place, spec.options["file"]
        data = _content(spec, means.storage)
        unchanged(spec, "file", hashlib.sha256(data).hexdigest())
        bound = spec.options["encoder_digest"]
        if bound not in (ANY, means.encoder.digest):
            raise ConfigError(
                f"{place}: {url}: is for an encoder with the digest {bound}, the run's has {means.encoder.digest}; "
                "take a head that was made for this encoder"
            )
        found = cls(spec, means.encoder)
        if url.lower().endswith(".onnx"):
            found._score = _OnnxModel(data, spec.options.get("output", 0), place)
        else:
            found._score = _TorchModel(data, means.encoder, f"{place}: {url}")
        if found._score.dim not in (None, means.encoder.dim):
            raise ConfigError(
                f"{place}: {url}: takes {found._score.dim} numbers, the encoder gives {means.encoder.dim}"
            )
        return found

    _score: _OnnxModel | _TorchModel

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        scores = self._score(embeddings.vectors)
        values: dict[str, ColumnValues] = {}
        for place, column in enumerate(self.columns):
            if column.kind == "score":
                values[column.name] = scores[:, place]
            else:
                threshold = float(column.description.rsplit(" ", 1)[-1])
                values[column.name] = scores[:, 0] >= np.float32(threshold)
        return values


def _name(name: str, suffix: str) -> str:
    return f"{name}_{suffix}" if suffix else name


def _content(spec: AnnotatorSpec, storage: Storage) -> bytes:
    """The head's file, wherever it is."""
    url = spec.options["file"]
    if not url.startswith(BUILTIN):
        return content(spec, "file", storage)
    path = _FOLDER / f"{url.removeprefix(BUILTIN)}.safetensors"
    if path.parent != _FOLDER or not path.is_file():
        names = ", ".join(sorted(BUILTIN + each.stem for each in _FOLDER.glob("*.safetensors")))
        raise fault(spec, f"{url} does not come with Curator; there are {names}")
    return path.read_bytes()


class _TorchModel:
    """A safetensors head on the encoder's device: scores float32 [B, columns] in the order of its columns."""

    def __init__(self, data: bytes, encoder: DeviceEncoder, place: str) -> None:
        from curator.kernels.score_heads import collapsed
        from curator.scores.head_files import read_head

        head = read_head(data, place)
        self._model = replace(head.model, layers=collapsed(head.model.layers)).to(encoder.device)
        self._indices = [index for index, _ in head.columns.values()]
        self.dim: int | None = head.model.dim

    def __call__(self, vectors: Tensor) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            scores: NDArray[np.float32] = self._model(vectors)[:, self._indices].cpu().numpy()
        return scores


class _OnnxModel:
    """An ONNX model on the CPU: scores float32 [B, 1]. ``encoder_digest`` is what its own metadata states, or ''."""

    def __init__(self, data: bytes, index: int, place: str) -> None:
        runtime: Any = package("onnxruntime", "onnx", place)
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen errors without a common root
            raise ConfigError(f"{place}: is not a model that ONNX Runtime can run: {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].type != "tensor(float)":
            shapes = [(each.name, each.type, each.shape) for each in inputs]
            raise ConfigError(f"{place}: an ONNX head has one input, float [B, D]; this one has {shapes}")
        self._input = inputs[0].name
        self._index = index
        self.dim: int | None = inputs[0].shape[1] if isinstance(inputs[0].shape[1], int) else None
        self.encoder_digest = str(self._session.get_modelmeta().custom_metadata_map.get("encoder_digest", ""))

    def __call__(self, vectors: Tensor) -> NDArray[np.float32]:
        (scores, *_) = self._session.run(None, {self._input: vectors.float().cpu().numpy()})
        flat = np.asarray(scores, np.float32).reshape(len(vectors), -1)
        if not 0 <= self._index < flat.shape[1]:
            raise ConfigError(f"an ONNX head gives {flat.shape[1]} numbers; there is no output {self._index}")
        return flat[:, self._index : self._index + 1]
