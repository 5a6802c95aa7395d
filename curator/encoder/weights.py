"""Owns the safe reading of weights files and their digest. Refuses everything that would run code while loading."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from curator.errors import ConfigError

logger = logging.getLogger(__name__)

_BY_PREFERENCE = ("*.safetensors", "*.bin", "*.pth", "*.pt")


def find_weights(directory: Path) -> Path:
    """The one weights file of a directory, safetensors before others. Raises ConfigError for none, or for several."""
    for pattern in _BY_PREFERENCE:
        found = sorted(directory.glob(pattern))
        preferred = [path for path in found if path.stem in ("open_clip_model", "open_clip_pytorch_model")]
        if len(preferred or found) == 1:
            return (preferred or found)[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise ConfigError(
                f"{directory}: several weights files ({names}); name one open_clip_model{found[0].suffix}"
            )
    raise ConfigError(f"{directory}: no weights file; put open_clip_model.safetensors beside open_clip_config.json")


def check_weights(path: Path) -> None:
    """Raises ConfigError unless ``path`` can be loaded without running code that it carries.

    open_clip loads with ``weights_only=True``, but falls back to a full unpickling when that raises TypeError, which
    a crafted file can bring about. A file that passes here never gets there.
    """
    if not path.is_file():
        raise ConfigError(f"weights file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as tensors:
                if not tensors.keys():
                    raise ValueError("it holds no tensors")
        elif path.suffix not in (".npz", ".npy"):  # numpy's loader refuses pickles by default
            torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever a broken or hostile file makes the parsers raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"weights file {path} is not plain tensors, and loading it could run code ({reason}); "
            "save the state dict as safetensors"
        ) from error


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Load ``path`` into ``model``, every tensor of it. Raises ConfigError where the two do not fit together."""
    import open_clip

    check_weights(path)
    try:
        open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
    except (RuntimeError, KeyError, ValueError, AttributeError, AssertionError) as error:
        raise ConfigError(f"weights file {path} does not fit the architecture: {error}") from error


def digest_of(config: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> str:
    """64 hex digits of SHA-256 over the model's configuration and the names, shapes, dtypes and bytes of its weights.

    The configuration counts because the same weights with another activation or mean give other vectors.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextlib.contextmanager
def quiet_root_logger() -> Iterator[None]:
    """Drops what open_clip says through the root logger, which would also install a handler there if it had none."""
    root, silence = logging.getLogger(), logging.NullHandler()

    def not_open_clip(record: logging.LogRecord) -> bool:
        return "open_clip" not in Path(record.pathname).parts

    root.addHandler(silence)
    root.addFilter(not_open_clip)
    try:
        yield
    finally:
        root.removeFilter(not_open_clip)
        root.removeHandler(silence)
