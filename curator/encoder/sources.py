"""Owns what an encoder's name means: which configuration and which weights file. Builds no model."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curator.cache import cache_root, locked
from curator.encoder.catalog import EMBEDDED, EMBEDDED_DIRECTORY, UNTRAINED
from curator.encoder.weights import find_weights
from curator.errors import ConfigError, nearest

logger = logging.getLogger(__name__)

_LOCAL, _HUB, _CONFIG = "local-dir:", "hf-hub:", "open_clip_config.json"
_DOWNLOAD_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where an encoder comes from. ``model_name`` is open_clip's word for the architecture, its scheme included.

    ``weights`` is None for untrained weights. ``preprocess`` holds what a pretrained tag says about its transform.
    """

    model_name: str
    config: Mapping[str, Any]
    weights: Path | None
    preprocess: Mapping[str, Any] = field(default_factory=dict)


def resolve(name: str, pretrained: str | None, cache_dir: Path | None) -> Source:
    """Find (downloading it if need be) what ``Encoder.open`` was asked for. Raises ConfigError with the way out."""
    with_scheme = name == EMBEDDED or name.startswith((_LOCAL, _HUB))
    if with_scheme and pretrained:
        raise ConfigError(f"encoder {name!r} brings its own weights; leave pretrained={pretrained!r} out")
    if name == EMBEDDED:
        return _directory(EMBEDDED_DIRECTORY)
    if name.startswith(_LOCAL):
        return _directory(Path(name.removeprefix(_LOCAL)).expanduser().absolute())
    source = _hub(name, cache_dir) if name.startswith(_HUB) else _architecture(name, pretrained, cache_dir)
    _refuse_remote_code(name, source.config)
    return source


def embedding_dim(name: str, cache_dir: Path | None) -> int:
    """How many numbers an embedding of that encoder has, from its configuration alone. Raises ConfigError."""
    if name.startswith(_HUB):
        config = _model_config(_fetched(name, cache_dir, filename=_CONFIG))
    elif name == EMBEDDED or name.startswith(_LOCAL):
        config = resolve(name, None, cache_dir).config
    else:
        config = _known(name.replace("/", "-"))
    return int(config["embed_dim"])


def download_lock(key: str, cache_dir: Path | None) -> AbstractContextManager[None]:
    """Held while ``key`` is fetched into ``cache_dir``, so that the actors of one node download it once."""
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return locked(cache_root(cache_dir) / "locks" / f"{name}.lock", timeout_s=_DOWNLOAD_TIMEOUT_S)


def _directory(path: Path) -> Source:
    config_file = path / _CONFIG
    if not config_file.is_file():
        raise ConfigError(f"{config_file} does not exist; a local encoder is a directory of {_CONFIG} and weights")
    config = _model_config(config_file)
    _refuse_remote_code(str(path), config)
    return Source(f"{_LOCAL}{path}", config, find_weights(path))


def _hub(name: str, cache_dir: Path | None) -> Source:
    config = _model_config(_fetched(name, cache_dir, filename=_CONFIG))
    return Source(name, config, _fetched(name, cache_dir))


def _fetched(name: str, cache_dir: Path | None, **which: str) -> Path:
    """A file of a repository of the hub, its weights where no ``filename`` is given."""
    from open_clip.pretrained import download_pretrained_from_hf

    repository = name.removeprefix(_HUB)
    if not repository:
        raise ConfigError(f"encoder {name!r} names no repository; write hf-hub:organisation/name")
    try:
        with download_lock(name, cache_dir):
            return Path(
                download_pretrained_from_hf(repository, cache_dir=str(cache_dir) if cache_dir else None, **which)
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"encoder {name!r} could not be fetched ({error}); check the name and the network, or fetch it elsewhere "
            "and use local-dir:/path"
        ) from error


def _known(name: str) -> Mapping[str, Any]:
    """open_clip's configuration of an architecture."""
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        raise ConfigError(
            f"encoder {name!r} is not known; {nearest(name, [EMBEDDED, *open_clip.list_models()], most=3)}"
        )
    return dict(config)


def _architecture(name: str, pretrained: str | None, cache_dir: Path | None) -> Source:
    import open_clip

    name = name.replace("/", "-")
    config = _known(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not pretrained:
        raise ConfigError(
            f"encoder {name!r} needs pretrained weights: one of {', '.join(tags) or '(it has no tags)'}, "
            f"a weights file, or {UNTRAINED!r} for untrained ones"
        )
    if pretrained == UNTRAINED:
        logger.warning("encoder %s: untrained weights, its labels mean nothing", name)
        return Source(name, config, None)
    if tag := open_clip.get_pretrained_cfg(name, pretrained):
        _check_activation(name, pretrained, config, bool(tag.get("quick_gelu", False)))
        return Source(name, config, _download(name, pretrained, tag, cache_dir), _transform_of(tag))
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"pretrained {pretrained!r} is neither a tag of {name} nor a file; {nearest(pretrained, tags, most=3)}"
            if tags
            else f"pretrained {pretrained!r} is not a file, and {name} has no tags"
        )
    if "openai" in path.name.lower():
        _check_activation(name, pretrained, config, quick_gelu=True)
    return Source(name, config, path.absolute())


def _download(name: str, pretrained: str, tag: Mapping[str, Any], cache_dir: Path | None) -> Path:
    import open_clip

    try:
        with download_lock(f"{name}:{pretrained}", cache_dir):
            weights = open_clip.download_pretrained(tag, cache_dir=str(cache_dir) if cache_dir else None)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"weights of {name}:{pretrained} could not be fetched ({error}); check the network, or fetch the file "
            "elsewhere and give its path as pretrained"
        ) from error
    return Path(weights)


def _check_activation(name: str, pretrained: str, config: Mapping[str, Any], quick_gelu: bool) -> None:
    if bool(config.get("quick_gelu", False)) == quick_gelu:
        return
    import open_clip

    better = f"{name}-quickgelu" if quick_gelu else name.removesuffix("-quickgelu")
    logger.warning(
        "encoder %s: %s was trained %s QuickGELU, and this architecture is %s it: its vectors will be worse%s",
        name,
        pretrained,
        "with" if quick_gelu else "without",
        "without" if quick_gelu else "with",
        f"; use {better}" if better in open_clip.list_models() else "",
    )


def _transform_of(tag: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode", "fill_color") if key in tag}


def _model_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model = config["model_cfg"]
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(model)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not an open_clip configuration with a model_cfg ({error!r})") from error
    if missing:
        raise ConfigError(f"{path}: model_cfg lacks {', '.join(sorted(missing))}")
    return dict(model)


def _refuse_remote_code(name: str, config: Mapping[str, Any]) -> None:
    if config["text_cfg"].get("tokenizer_kwargs", {}).get("trust_remote_code"):
        raise ConfigError(f"encoder {name!r} asks to run code from its repository (trust_remote_code); it is refused")
