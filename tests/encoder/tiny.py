"""Makes tiny open_clip models with seeded random weights, as local directories that ``Encoder.open`` can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS = {
    "mean": [0.48, 0.46, 0.41],
    "std": [0.27, 0.26, 0.28],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def save_tiny(
    directory: Path,
    *,
    seed: int = 0,
    siglip: bool = False,
    custom_text: bool = False,
    quick_gelu: bool = False,
    text: dict[str, Any] | None = None,
    **preprocess: Any,
) -> Path:
    """Write weights and configuration into ``directory``. ``siglip`` gives the model a logit bias.

    ``custom_text`` keeps the text tower as a module of its own, and ``text`` overrides settings of it.
    """
    config = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], **(text or {})}}
    if siglip:
        config |= {"init_logit_bias": -10.0, "init_logit_scale": 2.302585}
    if custom_text:
        config["custom_text"] = True
    if quick_gelu:
        config["quick_gelu"] = True
    directory.mkdir(parents=True, exist_ok=True)
    stored = {"model_cfg": config, "preprocess_cfg": {**PREPROCESS, **preprocess}}
    (directory / "open_clip_config.json").write_text(json.dumps(stored))
    state = {name: tensor.contiguous() for name, tensor in model_of(config, seed).state_dict().items()}
    save_file(state, directory / "open_clip_model.safetensors")
    return directory


def model_of(config: dict[str, Any], seed: int = 0) -> torch.nn.Module:
    """The untrained model that ``config`` describes, in float32."""
    arguments = json.loads(json.dumps(config))
    architecture = open_clip.CustomTextCLIP if arguments.pop("custom_text", False) else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture(**arguments).eval()
