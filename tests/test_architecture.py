"""What the architecture forbids: imports from right to left, heavy packages away from home, files too long to read."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import curator

PACKAGE = Path(curator.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Rooms from left to right: a room may import those of a lower rank, and itself. data, errors and kernels are free.
RANK = {
    "data": 0, "errors": 0, "kernels": 0, "cache": 0, "storage": 1, "logs": 1, "options": 1, "wordnet": 1,
    "annotators": 1, "shards": 2, "encoder": 2, "labels": 2, "tables": 2, "captions": 2, "free": 2, "entities": 2,
    "scores": 2, "config": 2, "engine": 3, "training": 3, "demo": 3, "bench": 4, "curation": 4, "evaluation": 4,
    "console": 5, "api": 5, "cli": 6,
}  # fmt: skip
# Rooms that do not know each other: of each of these groups, a room imports no other.
STRANGERS = (
    {"shards", "encoder", "labels", "tables"},
    {"shards", "encoder", "tables", "captions"},
    {"shards", "encoder", "tables", "free", "entities", "scores"},
)
HOMES = {
    "ray": ("engine/backends/ray",),
    "open_clip": ("encoder/", "labels/templates.py", "training/"),
    "boto3": ("storage/s3",),
    "botocore": ("storage/s3",),
    "pyarrow": (
        "tables/",
        "captions/",
        "entities/",
        "bench/",
        "curation/",
        "evaluation/",
        "api.py",
        "engine/worker.py",
    ),
    "prometheus_client": ("engine/backends/prometheus",),
    "opentelemetry": ("engine/traces.py",),
    "PIL": ("shards/decode", "shards/", "encoder/images.py", "training/"),
}


def imports(path: Path) -> Iterator[str]:
    """Every module name that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for name in imports(path):
        if not name.startswith("curator.") or name == "curator.storage.base":
            continue
        there = name.split(".")[1]
        assert RANK[there] <= RANK[here], f"{here} imports {name}, which lies to its right"
        for strangers in STRANGERS:
            if here != there and here in strangers:
                assert there not in strangers, f"{here} imports {name}: these rooms meet in the engine"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_have_one_home(path: Path) -> None:
    place = str(path.relative_to(PACKAGE))
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or place.startswith(homes), f"{place} imports {name}; its home is {homes}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_and_say_what_they_own(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert path.stem not in {"utils", "helpers", "common", "manager"}
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a module says what it owns and what it refuses to know"


def test_top_level_is_fixed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    top = {name.split("/")[0] for name in tracked if name}
    assert top <= {
        "pyproject.toml", "curator", "jobs", "tests", "deploy", "README.md", "LICENSE", ".gitignore", ".ci",
    }  # fmt: skip


@pytest.mark.parametrize("module", ["curator", "curator.cli", "curator.config", "curator.engine.scheduler"])
def test_imports_nothing_heavy(module: str) -> None:
    heavy = ("torch", "ray", "pyarrow", "open_clip", "boto3")
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
