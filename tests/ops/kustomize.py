"""As much of `kubectl kustomize` as deploy/ uses, strict: an unknown field, a missing file or an idle patch fails.

Kustomize itself is a Go program that no Python package carries. This is our reading of its documentation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
KNOWN = {
    "apiVersion", "kind", "namespace", "resources", "components", "configMapGenerator", "generatorOptions", "patches",
    "images",
}  # fmt: skip


def build(folder: Path) -> list[Document]:
    """The documents that `kubectl kustomize FOLDER` would print."""
    return _build(folder.resolve(), [])


def _build(folder: Path, given: list[Document]) -> list[Document]:
    settings = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(settings) <= KNOWN, f"{folder}: {set(settings) - KNOWN}"
    assert settings["kind"] == ("Component" if folder.parent.name == "components" else "Kustomization")
    documents = given
    for name in settings.get("resources", ()):
        place = (folder / name).resolve()
        assert place.exists(), f"{folder}: {name} does not exist"
        if place.is_dir():
            assert not folder.is_relative_to(place), f"{folder}: {name} contains it, which is a cycle"
            documents = documents + _build(place, [])
        else:
            assert place.parent == folder, f"{folder}: {name} lies outside, which Kustomize refuses"
            documents = documents + list(yaml.safe_load_all(place.read_text()))
    for generator in settings.get("configMapGenerator", ()):
        assert settings["generatorOptions"] == {"disableNameSuffixHash": True}, "its users would not find it"
        data = {name: (folder / name).read_text() for name in generator["files"]}
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
        documents = [*documents, config_map]
    for name in settings.get("components", ()):
        documents = _build((folder / name).resolve(), documents)
    for patch in settings.get("patches", ()):
        chosen = [each for each in documents if _is(each, patch["target"])]
        for document in chosen:
            for operation in yaml.safe_load(patch["patch"]):
                _apply(document, operation)
    for image in settings.get("images", ()):
        for container in (each for document in documents for each in containers(document)):
            if container["image"].rpartition(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    for document in documents if "namespace" in settings else ():
        document["metadata"]["namespace"] = settings["namespace"]
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names)), f"{folder}: {names}"
    return documents


def _is(document: Document, target: dict[str, str]) -> bool:
    return document["kind"] == target["kind"] and document["metadata"]["name"] == target["name"]


def _apply(document: Document, operation: dict[str, Any]) -> None:
    """One operation of RFC 6902; its parent must exist, or the patch is stale."""
    assert operation.keys() == {"op", "path", "value"}
    assert operation["op"] == "add"
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
    node: Any = document
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    assert isinstance(node, dict)
    node[last] = copy.deepcopy(operation["value"])


def containers(node: Any) -> Iterator[Document]:
    """Every container in a document, however deep its pod template lies."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("containers", "initContainers"):
                yield from value
            else:
                yield from containers(value)
    elif isinstance(node, list):
        for value in node:
            yield from containers(value)
