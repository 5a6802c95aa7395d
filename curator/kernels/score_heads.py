"""Owns the arithmetic of a score head: affine layers over an embedding, and how two of them become one.

Tensors only; knows no file and no encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Activation = Literal["none", "relu", "gelu", "tanh", "sigmoid"]
Output = Literal["none", "sigmoid", "softmax"]
_Map = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, _Map] = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
OUTPUTS: dict[str, _Map] = {"none": lambda x: x, "sigmoid": torch.sigmoid, "softmax": lambda x: torch.softmax(x, dim=1)}
_SMALLEST_STD = 1e-7


@dataclass(frozen=True)
class Layer:
    """``activation(x @ weight.T + bias)``; ``weight`` is [out, in] as torch has it, ``bias`` [out]."""

    weight: Tensor
    bias: Tensor
    activation: Activation = "none"


@dataclass(frozen=True)
class ScoreModel:
    """A multi-layer perceptron over unit vectors: columns ``zeroed`` set to 0, (x - mean) / std, layers, ``output``.

    ``mean`` and ``variance`` are [D] or None; std is the root of the variance, at least 1e-7.
    """

    layers: tuple[Layer, ...]
    output: Output = "none"
    mean: Tensor | None = None
    variance: Tensor | None = None
    zeroed: tuple[int, ...] = ()

    @property
    def dim(self) -> int:
        return int(self.layers[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.layers[-1].weight.shape[0])

    def __call__(self, vectors: Tensor) -> Tensor:
        """Scores float32 [B, outputs] of ``vectors`` [B, D]."""
        x = vectors.float()
        if self.zeroed:
            x = x.clone()
            x[:, list(self.zeroed)] = 0.0
        if self.mean is not None and self.variance is not None:
            x = (x - self.mean) / self.variance.sqrt().clamp_min(_SMALLEST_STD)
        for layer in self.layers:
            x = ACTIVATIONS[layer.activation](torch.nn.functional.linear(x, layer.weight, layer.bias))
        return OUTPUTS[self.output](x)

    def to(self, device: torch.device) -> ScoreModel:
        """The same on a device, in float32."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=torch.float32)

        layers = tuple(Layer(move(each.weight), move(each.bias), each.activation) for each in self.layers)
        mean, variance = (None if each is None else move(each) for each in (self.mean, self.variance))
        return replace(self, layers=layers, mean=mean, variance=variance)


def collapsed(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The same function with as few layers: one without an activation is multiplied into the next, in float64.

    LAION's aesthetic predictor v2 has five layers and no activation between them: one row of 768 numbers.
    """
    kept: list[Layer] = []
    for layer in layers:
        if kept and kept[-1].activation == "none":
            before = kept.pop()
            weight = layer.weight.double() @ before.weight.double()
            bias = layer.weight.double() @ before.bias.double() + layer.bias.double()
            layer = Layer(weight, bias, layer.activation)
        kept.append(layer)
    return tuple(Layer(each.weight.float(), each.bias.float(), each.activation) for each in kept)
