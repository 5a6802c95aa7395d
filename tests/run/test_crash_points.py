"""The storage fails before and after every operation in turn; after a resume the dataset is the same each time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from curator.config import Config
from curator.engine.maintain import verify_output
from curator.engine.run import Summary, label
from curator.storage import open_storage
from tests.run.crashing import Crash, CrashingStorage
from tests.run.jobs import assert_same_rows, job_config, local_fleet, read_rows, write_shards


@pytest.fixture(scope="module")
def two_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash") / "shards"
    write_shards(folder, 2, samples=8)
    return folder


def test_resume_after_a_crash_at_every_operation(two_shards: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    def config(name: str) -> Config:
        return job_config(two_shards, tiny_encoder_dir, tmp_path / name, attempts=1, in_flight=1)

    whole = CrashingStorage(open_storage())
    settings = config("whole")
    label(settings, fleet=local_fleet(settings, whole), storage=whole)
    expected = read_rows(settings.output.url)
    assert {"create", "upload.commit", "upload.write", "write"} <= set(whole.operations)

    crashed = 0
    for at in range(len(whole.operations)):
        for before in (True, False):
            settings = config(f"{at}-{before}")
            storage = CrashingStorage(open_storage(), at, before=before)
            try:
                label(settings, fleet=local_fleet(settings, storage), storage=storage)
            except Crash:
                crashed += 1
            summary = _resume(settings)
            assert summary.status == "complete", (at, before, summary)
            assert_same_rows(read_rows(settings.output.url), expected)
            problems = dict(verify_output(settings.output.url, open_storage()))
            assert not any(problems.values()), (at, before, problems)
    assert crashed >= len(whole.operations)


def _resume(settings: Config) -> Summary:
    """Run again as an operator would. The dead run's lock names a process that is no more."""
    lock = Path(settings.output.url) / "_ledger" / "lock.json"
    if lock.exists():
        gone = subprocess.Popen(["true"])
        gone.wait()
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"pid": gone.pid}))
    return label(settings, fleet=local_fleet(settings))
