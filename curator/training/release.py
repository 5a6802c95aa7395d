"""Own the form in which weights are shipped, a directory that open_clip loads by `local-dir:`; it judges nothing."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from curator.errors import ConfigError
from curator.training.recipe import model_config

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MAX_BYTES = 20_000_000


def write(state: dict[str, Tensor], folder: Path) -> int:
    """Write the configuration and float16 weights into `folder`; bytes of both files.

    Batch-norm step counters, which inference never reads, keep their integer type. Raises ConfigError when the files
    would be larger than the package may carry.
    """
    folder.mkdir(parents=True, exist_ok=True)
    halves = {
        name: (value.half() if value.dtype.is_floating_point else value).contiguous().clone()
        for name, value in state.items()
    }
    for name, value in halves.items():
        if value.dtype.is_floating_point and not torch.isfinite(value).all():
            raise ConfigError(f"{name}: does not fit float16; train with a smaller learning rate")
    save_file(halves, folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).chmod(0o644)
    (folder / CONFIG_FILE).write_text(json.dumps(model_config(), indent=2) + "\n")
    size = sum((folder / name).stat().st_size for name in (CONFIG_FILE, WEIGHTS_FILE))
    if size > MAX_BYTES:
        raise ConfigError(f"{folder}: {size} bytes, over the {MAX_BYTES} that the package may carry; shrink a tower")
    return size
