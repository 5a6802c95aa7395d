"""Owns the file of a score head: a safetensors file that says what its numbers mean and whose vectors they are for.

Tensors are ``layers.N.weight`` [out, in] and ``layers.N.bias``, and where the input is normalised ``input.mean`` and
``input.variance``; the header's metadata has the JSON ``curator.head``. Knows no embedding and no run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from curator.errors import ConfigError
from curator.kernels.score_heads import ACTIVATIONS, OUTPUTS, Activation, Layer, Output, ScoreModel

FORMAT = 1
KEY = "curator.head"


@dataclass(frozen=True)
class HeadFile:
    """A head with what must be known to use it.

    ``columns`` maps a column's suffix ('' for the name alone) to (index of the output, description).
    ``encoder_digest`` is '' for a head that was published without one; ``encoder`` names its encoder in words. ``card``
    is free: how it was made, how good it is.
    """

    model: ScoreModel
    columns: Mapping[str, tuple[int, str]]
    encoder_digest: str = ""
    encoder: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)


def write_head(head: HeadFile) -> bytes:
    """The file. The same head gives the same bytes."""
    from safetensors.torch import save

    model = head.model
    tensors = {}
    for number, layer in enumerate(model.layers):
        tensors[f"layers.{number}.weight"] = layer.weight.float().contiguous()
        tensors[f"layers.{number}.bias"] = layer.bias.float().contiguous()
    if model.mean is not None and model.variance is not None:
        tensors["input.mean"], tensors["input.variance"] = model.mean.float(), model.variance.float()
    described = {
        "format": FORMAT,
        "activations": [layer.activation for layer in model.layers],
        "output": model.output,
        "zeroed": list(model.zeroed),
        "columns": {suffix: list(column) for suffix, column in head.columns.items()},
        "encoder_digest": head.encoder_digest,
        "encoder": head.encoder,
        "card": dict(head.card),
    }
    return bytes(save(tensors, metadata={KEY: json.dumps(described, sort_keys=True)}))


def read_head(data: bytes, place: str) -> HeadFile:
    """What ``write_head`` wrote. ConfigError for another file, with the way out for a plain state dict."""
    tensors, metadata = read_tensors(data, place)
    if KEY not in metadata:
        raise ConfigError(
            f"{place}: has no {KEY!r} in its metadata; make a head of it: curator head convert FILE --layout ..."
        )
    try:
        described = json.loads(metadata[KEY])
        if described["format"] != FORMAT:
            raise ConfigError(f"{place}: has format {described['format']}, this Curator reads {FORMAT}; upgrade it")
        activations: list[Activation] = described["activations"]
        layers = tuple(
            Layer(tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"], activation)
            for number, activation in enumerate(activations)
        )
        head = HeadFile(
            ScoreModel(
                layers,
                cast("Output", described["output"]),
                tensors.get("input.mean"),
                tensors.get("input.variance"),
                tuple(described["zeroed"]),
            ),
            {suffix: (int(index), str(text)) for suffix, (index, text) in described["columns"].items()},
            described["encoder_digest"],
            described["encoder"],
            described["card"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{place}: its {KEY!r} does not describe a head: {error!r}; write it anew") from error
    check_model(head.model, place)
    if not head.columns or any(not 0 <= index < head.model.outputs for index, _ in head.columns.values()):
        raise ConfigError(f"{place}: its columns {dict(head.columns)} do not fit {head.model.outputs} outputs")
    return head


def read_tensors(data: bytes, place: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata. ConfigError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"{place}: is not a safetensors file: {error}") from error
    return tensors, metadata


def check_model(model: ScoreModel, place: str) -> None:
    """ConfigError unless the layers follow one another and their names are known."""
    if not model.layers:
        raise ConfigError(f"{place}: has no layers")
    if model.output not in OUTPUTS or any(layer.activation not in ACTIVATIONS for layer in model.layers):
        raise ConfigError(f"{place}: activations are {', '.join(ACTIVATIONS)}; outputs {', '.join(OUTPUTS)}")
    width = model.dim
    for number, layer in enumerate(model.layers):
        if layer.weight.ndim != 2 or layer.weight.shape[1] != width or layer.bias.shape != layer.weight.shape[:1]:
            raise ConfigError(
                f"{place}: layer {number} has weight {list(layer.weight.shape)} and bias {list(layer.bias.shape)}; "
                f"the weight must be [out, {width}] and the bias [out]"
            )
        width = layer.weight.shape[0]
    for tensor in (model.mean, model.variance):
        if tensor is not None and tensor.shape != (model.dim,):
            raise ConfigError(f"{place}: normalises {list(tensor.shape)} numbers of vectors of {model.dim}")
    if (model.mean is None) != (model.variance is None) or any(not 0 <= each < model.dim for each in model.zeroed):
        raise ConfigError(f"{place}: needs both mean and variance, and zeroed columns within {model.dim}")
