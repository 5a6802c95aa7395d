"""kill -9 of a bank's build at every kind of step, then the same build again: the same bank, byte for byte."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.captions import BankFacts, read_facts
from curator.storage import open_storage
from tests.curation.bank_jobs import CAPTIONS, bank_config, run
from tests.run.killed_driver import Ask, Drive, asking

pytestmark = pytest.mark.timeout(600)


def building(captions: Path, encoder: Path, output: Path) -> Drive:
    config = bank_config(str(captions), encoder, output, output.parent / "cache", run={"in_flight": 1})
    return lambda storage: 0 if run(config, storage=storage)[1] is not None else 1


@pytest.fixture(scope="module")
def ask(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Kill a build at an operation, run it again, and hear how it went."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "captions.txt").write_text("\n".join([*CAPTIONS[:60], *CAPTIONS[:5], CAPTIONS[60]]))
    with asking(building, folder / "captions.txt", tiny_encoder_dir, folder) as ask:
        yield ask


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
