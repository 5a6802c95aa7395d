"""kill -9 of a bank's build at every kind of step, then the same build again: the same bank, byte for byte."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.captions import BankFacts, read_facts
from curator.storage import open_storage
from tests.curation.bank_jobs import CAPTIONS

pytestmark = pytest.mark.timeout(600)
Ask = Callable[[int, bool], dict[str, Any]]


@pytest.fixture(scope="module")
def ask(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Kill a build at an operation, run it again, and hear how it went."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "captions.txt").write_text("\n".join([*CAPTIONS[:60], *CAPTIONS[:5], CAPTIONS[60]]))
    command = [sys.executable, "-m", "tests.curation.killed_bank", folder / "captions.txt", tiny_encoder_dir, folder]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:

        def ask(at: int, before: bool) -> dict[str, Any]:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(f"{at} {int(before)}\n")
            program.stdin.flush()
            answer: dict[str, Any] = json.loads(program.stdout.readline())
            return answer

        yield ask
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(30) == 0


def facts(output: str) -> BankFacts:
    return read_facts(output, open_storage())


def survive(ask: Ask, whole: dict[str, Any], at: int, before: bool) -> None:
    answer = ask(at, before)
    point = (at, whole["operations"][at], before)
    assert answer["killed"] == -signal.SIGKILL, point
    assert answer["resumed"] == 0, point
    found = facts(answer["output"])
    assert found == facts(whole["output"]), point
    files = [path.name for path in Path(answer["output"]).iterdir() if path.is_file()]
    shown = sorted(name for name in files if not name.startswith(".curator-tmp-"))  # what the dead were writing
    assert shown == sorted(["bank.json", found.vectors.name, found.texts.name]), point


def test_a_build_killed_about_its_commits(ask: Ask) -> None:
    whole = ask(-1, True)
    operations = whole["operations"]
    assert facts(whole["output"]).count == 61
    commits = [place for place, name in enumerate(operations) if name == "upload.commit"]
    assert len(commits) == 3 + 2, "three leases, two files of the bank"
    assert operations[commits[0] + 1] == "create"
    for at, before in [
        (commits[0], False),  # a part without a receipt
        (commits[1] + 1, False),  # two leases done
        (commits[3], True),  # all leases done, no file of the bank
        (commits[3], False),  # one file of the bank, not the other
        (commits[4] + 1, True),  # both, and no bank.json
    ]:
        survive(ask, whole, at, before)


@pytest.mark.slow
def test_a_build_killed_at_every_operation(ask: Ask) -> None:
    whole = ask(-1, False)
    for at in range(len(whole["operations"])):
        for before in (True, False):
            survive(ask, whole, at, before)
