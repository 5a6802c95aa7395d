"""Own the numbers of the recipe and the open_clip configuration of the encoder; it refuses to know their use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IMAGE_SIDE = 64
"""Pixels: side of the square that the image tower sees."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a training, besides the corpus.

    An epoch shows every emoji `emoji_passes` times and every clipart once, each time in two views.
    """

    epochs: int = 35
    emoji_passes: int = 3
    batch_entities: int = 256
    kind_captions: int = 128
    max_same_title: int = 24
    learning_rate: float = 2e-3
    weight_decay: float = 0.2
    warmup_share: float = 0.04
    ema: float = 0.996
    kind_weight: float = 0.4
    design_weight: float = 0.3
    text_pairs: int = 128
    text_weight: float = 0.2
    seed: int = 0
    lanes: int = 2


def model_config() -> dict[str, Any]:
    """The `open_clip_config.json` of the embedded encoder, as `open_clip` reads it from a `local-dir:`."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "image_size": IMAGE_SIDE,
                "timm_model_name": "cs3darknet_s",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "timm_drop": 0.0,
            },
            "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
