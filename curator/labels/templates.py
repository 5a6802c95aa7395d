"""Owns prompt templates: strings with exactly one ``{}``, by the name of a set or from a file. Knows no label."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from curator.errors import ConfigError, nearest
from curator.options import file_bytes
from curator.storage.base import Storage

_OPEN_CLIP = {"openai": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}
_OWN = {"photo": ("a photo of a {}.",), "plain": ("{}",)}
TEMPLATE_SETS = tuple(sorted({**_OPEN_CLIP, **_OWN}))


def template_set(name_or_path: str | Path, storage: Storage | None = None) -> tuple[str, ...]:
    """The templates of a named set, or of a text file with one a line (``#`` begins a line that is a comment).

    ``openai``: the 80 for ImageNet; ``simple``: their subset of 7; ``photo``: "a photo of a {}."; ``plain``: the bare
    name. A url is read through ``storage``, where that is given. Raises ConfigError for an unknown name and for a
    template without exactly one ``{}``.
    """
    given = str(name_or_path)
    if given in _OWN:
        return _OWN[given]
    if given in _OPEN_CLIP:
        return check_templates([make("{}") for make in getattr(_metadata(), _OPEN_CLIP[given])], "open_clip")
    try:
        if storage is not None and "://" in given:
            content = file_bytes(given, storage, "templates")
        else:
            content = Path(given).read_bytes()
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except FileNotFoundError as error:
        hint = nearest(Path(given).name, TEMPLATE_SETS)
        raise ConfigError(f"templates {given!r} is neither a template set nor a file; {hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"templates {given} cannot be read as UTF-8 text: {error}") from error
    return check_templates([line for line in lines if line and not line.startswith("#")], given)


def check_templates(templates: Sequence[str], source: str) -> tuple[str, ...]:
    """``templates`` as they are. Raises ConfigError unless each has exactly one ``{}``, or where there are none."""
    if not templates:
        raise ConfigError(f"{source} holds no template; write at least one, such as 'a photo of a {{}}.'")
    for template in templates:
        if template.count("{}") != 1:
            raise ConfigError(f"{source}: template {template!r} must hold exactly one {{}}, where the label goes")
    return tuple(templates)


def fill(template: str, name: str) -> str:
    """The prompt: ``name`` in the place of ``{}``. Other braces, in either, are text."""
    return template.replace("{}", name)


@cache
def _metadata() -> ModuleType:
    """open_clip's module of templates by itself: importing the package would import torch to read 87 strings."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise ConfigError("the template sets openai and simple come with open_clip_torch; install it")
    path = Path(package.origin).with_name("zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("open_clip_zero_shot_metadata", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
