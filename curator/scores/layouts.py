"""Owns the shapes of published score heads, and how their files become heads. Knows no embedding and no run.

LAION's heads are trained on unit vectors of OpenAI's CLIP; their files say nothing of that, so that whoever converts
one says for which encoder it is.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from curator.errors import ConfigError
from curator.kernels.score_heads import Activation, Layer, Output, ScoreModel
from curator.scores.head_files import KEY, HeadFile, check_model, read_head, read_tensors
from curator.scores.tensor_bundle import read_bundle

_LAYER = re.compile(r"(?:^|\.)(\d+)\.weight$")


@dataclass(frozen=True)
class Layout:
    """``widths`` from input to output (empty: any), the activation after each layer but the last, and the output.

    ``silent`` last layers have no activation between them. ``columns`` is which output is the score.
    """

    widths: tuple[int, ...] = ()
    activation: Activation = "none"
    output: Output = "none"
    silent: int = 1
    index: int = 0
    zeroed: tuple[int, ...] = ()
    encoder: str = ""
    description: str = "Score of a head over the embedding"


LAYOUTS = {
    "linear": Layout(),
    "logistic": Layout(output="sigmoid"),
    "mlp": Layout(activation="relu"),
    "mlp_sigmoid": Layout(activation="relu", output="sigmoid"),
    "aesthetic_v1": Layout(description="LAION aesthetic predictor v1, about 1 to 10"),
    "aesthetic_v2": Layout(
        (768, 1024, 128, 64, 16, 1), encoder="ViT-L-14/openai", description="LAION aesthetic predictor v2, 1 to 10"
    ),
    "nsfw_l14": Layout(
        (768, 64, 512, 256, 1), "relu", "sigmoid", zeroed=(180, 316, 413, 440, 644), encoder="ViT-L-14/openai",
        description="LAION CLIP-based NSFW detector: probability of unsafe",
    ),
    "nsfw_b32": Layout(
        (512, 32, 32, 1), "relu", "sigmoid", zeroed=(92, 133, 312), encoder="ViT-B-32/openai",
        description="LAION CLIP-based NSFW detector: probability of unsafe",
    ),
    "nsfw_h14": Layout(
        (1024, 1024, 2048, 1024, 256, 128, 16, 1), "relu", silent=2, encoder="ViT-H-14/laion2b_s32b_b79k",
        description="LAION NSFW detector for H/14, regressed to 0 safe .. 1 unsafe",
    ),
    "watermark": Layout(
        (1536, 625, 256, 2), "relu", "softmax", encoder="timm efficientnet_b3a features, not CLIP",
        description="LAION watermark detector's classifier: probability of a watermark",
    ),
}  # fmt: skip


def convert(data: bytes, name: str, layout: str, *, encoder_digest: str = "", encoder: str = "") -> HeadFile:
    """A published head's file as a head: ``name`` tells its format by its ending.

    ``.safetensors`` and ``.pth``/``.pt`` (a state dict; no code in it is run) have torch's layout, ``.zip`` holds a
    TensorFlow SavedModel. ConfigError where the tensors are not of the layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r} is not known; there are {', '.join(LAYOUTS)}")
    chosen = LAYOUTS[layout]
    lower = name.lower()
    if lower.endswith(".zip"):
        pairs, normal = _keras_layers(read_bundle(*_saved_model(data, name), name))
    else:
        pairs, normal = _torch_layers(_state_dict(data, name)), {}
    count = len(pairs)
    layers = tuple(
        Layer(weight, bias, chosen.activation if number < count - chosen.silent else "none")
        for number, (weight, bias) in enumerate(pairs)
    )
    model = ScoreModel(layers, chosen.output, normal.get("mean"), normal.get("variance"), chosen.zeroed)
    check_model(model, name)
    widths = (model.dim, *(layer.weight.shape[0] for layer in layers))
    if chosen.widths and widths != chosen.widths:
        raise ConfigError(f"{name}: has the widths {widths}; layout {layout} has {chosen.widths}")
    if chosen.index >= model.outputs or (not chosen.widths and model.outputs != 1):
        raise ConfigError(f"{name}: has {model.outputs} outputs; layout {layout} has one score")
    return HeadFile(
        model,
        {"": (chosen.index, chosen.description)},
        encoder_digest,
        encoder or chosen.encoder,
        {"layout": layout, "source": name.rsplit("/", 1)[-1]},
    )


def _state_dict(data: bytes, name: str) -> dict[str, Tensor]:
    if name.lower().endswith(".safetensors"):
        tensors, metadata = read_tensors(data, name)
        if KEY in metadata:
            own = read_head(data, name)
            raise ConfigError(
                f"{name}: is a head already, for the encoder {own.encoder} ({own.encoder_digest}): use it as it is; "
                "for the vectors of another encoder teach another (`curator head train`)"
            )
        return tensors
    try:
        found: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no one error for what it cannot read
        raise ConfigError(f"{name}: is not a file of plain weights: {error}") from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(each, Tensor) for each in found.values()):
        raise ConfigError(f"{name}: holds no state dict of tensors; save model.state_dict()")
    return dict(found)


def _torch_layers(tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of a Sequential, in order of their numbers; of a lone Linear, its own."""
    if set(tensors) == {"weight", "bias"}:
        return [(tensors["weight"].float(), tensors["bias"].float())]
    found = sorted((int(match[1]), key) for key in tensors if (match := _LAYER.search(key)))
    pairs = []
    for _, key in found:
        weight = tensors[key].float()
        bias = tensors.get(key.removesuffix("weight") + "bias")
        pairs.append((weight, torch.zeros(len(weight)) if bias is None else bias.float()))
    return pairs


def _saved_model(data: bytes, name: str) -> tuple[bytes, bytes]:
    """The index and the data of the variables in a zipped SavedModel."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {each.rsplit("/", 2)[-1]: each for each in archive.namelist() if "__MACOSX" not in each}
            return (
                archive.read(members["variables.index"]),
                archive.read(members["variables.data-00000-of-00001"]),
            )
    except (zipfile.BadZipFile, KeyError) as error:
        raise ConfigError(f"{name}: is not a zip of a SavedModel with one file of variables: {error}") from error


def _keras_layers(tensors: Mapping[str, Tensor]) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """Dense layers of a Keras model (kernels are [in, out]) and what its Normalization layer holds."""
    ending = "/.ATTRIBUTES/VARIABLE_VALUE"
    values = {key.removesuffix(ending): value for key, value in tensors.items() if key.endswith(ending)}
    pattern = re.compile(r"layer_with_weights-(\d+)/kernel")
    found = sorted((int(match[1]), key) for key in values if (match := pattern.fullmatch(key)))
    pairs = [(values[key].T.contiguous(), values[key.replace("kernel", "bias")]) for _, key in found]
    normal = {key.rsplit("/", 1)[-1]: value.reshape(-1) for key, value in values.items() if "optimizer" not in key}
    return pairs, {key: normal[key] for key in ("mean", "variance") if key in normal}
