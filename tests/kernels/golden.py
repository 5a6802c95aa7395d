"""Seeded inputs and the values that the published formulas give for them, computed once in float64 numpy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

VALUES: dict[str, Any] = json.loads(Path(__file__).with_name("golden.json").read_text())


@dataclass(frozen=True)
class Inputs:
    """``images`` [12, 16], ``prompts`` [5 labels, 4 templates, 16], ``reference`` [30, 16], ``children`` [9, 16]."""

    images: Tensor
    prompts: Tensor
    children: Tensor
    parents: Tensor
    reference: Tensor


def inputs() -> Inputs:
    """The draws in the order in which the values were computed."""
    generator = np.random.default_rng(0)

    def unit(*shape: int) -> NDArray[np.float64]:
        x = generator.standard_normal(shape)
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    images, prompts = unit(12, 16), unit(5, 4, 16)
    unit(6, 16), unit(2, 16), unit(8, 16)
    children, reference = unit(9, 16), unit(30, 16)
    tensors = [torch.from_numpy(x).float() for x in (images, prompts, children, reference)]
    return Inputs(tensors[0], tensors[1], tensors[2], torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 4]), tensors[3])
