"""Owns the choice of device and precision. Knows what the machine can do, and nothing of any model."""

from __future__ import annotations

import torch

from curator.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> torch.device:
    """``auto`` (the first GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N`` as a torch device.

    Raises ConfigError for any other word, and for a GPU that this process does not see.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r} is not known; use auto, cpu, cuda or cuda:N")
    if chosen.type == "cpu":
        return chosen
    number, visible = chosen.index or 0, torch.cuda.device_count()
    if number >= visible:
        raise ConfigError(f"device {device!r} is not there: this process sees {visible} GPUs; use device auto or cpu")
    return torch.device("cuda", number)


def choose_precision(precision: str, device: torch.device) -> str:
    """``auto`` is bfloat16 where the hardware multiplies it (CUDA from Ampere on, AMX, AVX512-BF16), else float32.

    Raises ConfigError for an unknown precision.
    """
    if precision == "auto":
        return "bfloat16" if _multiplies_bfloat16(device) else "float32"
    if precision not in DTYPES:
        raise ConfigError(f"precision {precision!r} is not known; use auto, {', '.join(DTYPES)}")
    return precision


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public query for these; where a release drops the private one, float32 is the safe answer.
    queries = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, query, bool)()) for query in queries)
