"""Which settings name files, and where their relative paths start. Knows the settings' names, and reads no file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from curator.storage.urls import absolute, here, within

OPTION_FILES: Final[Mapping[str, frozenset[str]]] = {
    "labels": frozenset(
        {
            "children", "descriptions", "differences", "exclusive", "factors", "group_bias", "groups", "metric",
            "offsets", "pairs", "prototypes", "scored", "thresholds", "tree", "weights", "words",
        }
    ),
    "free": frozenset({"bank", "decoder", "distractors", "guide", "words"}),
    "entities": frozenset({"exemplars", "gazetteer", "ner", "regions"}),
    "scores": frozenset({"counts", "file", "metadata", "vocabulary"}),
}  # fmt: skip
"""The options of methods that may name a file, by section; some say a table or a list in its place."""

_NO_FILE: Final = re.compile(r"embedded|wordnet|self|tree|openai|photo|plain|simple|builtin:.*|wordnet:.*|spacy:[^/]*")
_PREFIXED: Final = re.compile(r"((?:local-dir|spacy):)(.*)")
_WEIGHTS: Final = re.compile(r"/|^~|\.(pt|pth|bin|npz|ckpt|safetensors)$")


def placed_in(folder: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file that lies in ``folder``: its relative paths start there.

    Encoders and caches are local: where the file is at a url, theirs start at the working directory.
    """
    remote = "://" in folder and not folder.startswith("file://")
    return _moved(
        tree,
        lambda url: within(folder, url),
        pattern=lambda url: within(folder, url, pattern=True),
        local=(lambda url: url) if remote else lambda url: within(folder, url),
    )


def placed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every local path absolute: they mean the same in every process, from wherever it is started."""
    return _moved(tree, absolute, pattern=_whole_pattern, local=absolute)


def _whole_pattern(url: str) -> str:
    mark, url = ("@", url[1:]) if url.startswith("@") else ("", url)
    if mark:
        return mark + absolute(url)
    return within(f"{here()}/", os.path.expanduser(url), pattern=True)


def _moved(
    tree: Mapping[str, Any],
    move: Callable[[str], str],
    *,
    pattern: Callable[[str], str],
    local: Callable[[str], str],
) -> dict[str, Any]:
    """A copy of settings, valid or not, with every path in it moved."""
    encoder = {"cache_dir": local, "pretrained": _if_weights(local)}
    keys: dict[str, dict[str, Callable[[str], str]]] = {
        "input": {"urls": pattern, "run": move},
        "output": {"url": move},
        "encoder": {**encoder, "name": _if_directory(local)},
        "encoders": {**encoder, "encoder": _if_directory(local)},
        "labels": {"vocabulary": _if_file(move), "templates": _if_file(move)},
    }
    changed = dict(tree)
    for section in {*keys, *OPTION_FILES} & set(tree):
        of_options = dict.fromkeys(OPTION_FILES.get(section, ()), _if_file(move))

        def entry(
            value: Any, own: Mapping[str, Any] = keys.get(section, {}), options: Mapping[str, Any] = of_options
        ) -> Any:
            if not isinstance(value, Mapping):
                return value
            found = _each(value, own)
            for name in {"options", "abstain"} & set(found):
                found[name] = _each(found[name], options)
            return found

        value = tree[section]
        changed[section] = [entry(each) for each in value] if isinstance(value, (list, tuple)) else entry(value)
    return changed


def _each(table: Any, moves: Mapping[str, Callable[[str], str]]) -> Any:
    if not isinstance(table, Mapping):
        return table
    return {key: _value(key, value, moves[key]) if key in moves else value for key, value in table.items()}


def _value(key: str, value: Any, move: Callable[[str], str]) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if key == "urls" and isinstance(value, (list, tuple)):  # any other list is what else would stand in a file
        return [_value("", each, move) for each in value]
    return move(value) if isinstance(value, str) else value


def _if_file(move: Callable[[str], str]) -> Callable[[str], str]:
    def moved(value: str) -> str:
        prefixed = _PREFIXED.fullmatch(value)
        if _NO_FILE.fullmatch(value):
            return value
        return prefixed[1] + move(prefixed[2]) if prefixed else move(value)

    return moved


def _if_weights(move: Callable[[str], str]) -> Callable[[str], str]:
    return lambda value: move(value) if _WEIGHTS.search(value) else value


def _if_directory(move: Callable[[str], str]) -> Callable[[str], str]:
    return lambda value: _if_file(move)(value) if _PREFIXED.fullmatch(value) else value
