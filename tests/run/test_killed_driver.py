"""kill -9 of a driver in a process of its own, at each step of the commit and elsewhere; then it is run again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.engine.maintain import verify_output
from curator.engine.run import label
from curator.storage import open_storage
from tests.run.jobs import assert_same_rows, job_config, local_fleet, read_rows, write_shards
from tests.run.killed_driver import Ask, Drive, asking

pytestmark = pytest.mark.timeout(600)


def labelling(shards: Path, encoder: Path, output: Path) -> Drive:
    config = job_config(shards, encoder, output, attempts=1, in_flight=1)
    return lambda storage: label(config, fleet=local_fleet(config, storage), storage=storage).exit_status


@pytest.fixture(scope="module")
def ask(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Kill a driver at an operation, resume, and hear how it went."""
    folder = tmp_path_factory.mktemp("killed")
    write_shards(folder / "shards", 2, samples=8)
    with asking(labelling, folder / "shards", tiny_encoder_dir, folder) as ask:
        yield ask


def survive(ask: Ask, whole: dict[str, Any], at: int, before: bool) -> None:
    answer = ask(at, before)
    point = (at, whole["operations"][at], before)
    assert answer["killed"] == -signal.SIGKILL, point
    assert answer["operations"] == whole["operations"][: at + 1], point
    assert answer["resumed"] == 0, point
    assert_same_rows(read_rows(answer["output"]), read_rows(whole["output"]))
    problems = dict(verify_output(answer["output"], open_storage()))
    assert not any(problems.values()), (point, problems)


def test_a_driver_killed_about_the_commit_of_a_part(ask: Ask) -> None:
    whole = ask(-1, True)
    operations = whole["operations"]
    part = operations.index("upload.commit")
    assert operations[part + 1] == "create"
    for at, before in [(part, True), (part, False), (part + 1, True), (part + 1, False), (len(operations) - 1, True)]:
        survive(ask, whole, at, before)


@pytest.mark.slow
def test_a_driver_killed_at_every_operation(ask: Ask) -> None:
    whole = ask(-1, False)
    for at in range(len(whole["operations"])):
        for before in (True, False):
            survive(ask, whole, at, before)
