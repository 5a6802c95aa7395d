"""Fixtures of operations: those of the main job, and one real Ray head for all that submit jobs to it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.heads import Head
from tests.ops.readme import blocks
from tests.run.conftest import shards, undisturbed

__all__ = ["shards", "undisturbed"]

README = Path(__file__).parents[2] / "deploy" / "README.md"


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """The head that deploy/README.md starts, two CPUs and no GPU, and a second node that says it has a GPU."""
    lines = "\n".join(block.text for block in blocks(README) if block.section == "Submit").splitlines()
    (command,) = (shlex.split(line) for line in lines if line.startswith("ray start --head"))
    head = Head(command[3:])
    head.add_node("--num-cpus=2", "--num-gpus=1")
    yield head
    head.stop()
