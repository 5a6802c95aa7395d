"""The storage fails before and after every operation in turn; after a resume the dataset is the same each time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from curator.config import Config
from curator.engine.maintain import verify_output
from curator.engine.progress import Summary
from curator.engine.run import label
from curator.storage import open_storage
from tests.run.crashing import Crash, CrashingStorage
from tests.run.jobs import assert_same_rows, job_config, local_fleet, read_rows, write_shards


@pytest.fixture(scope="module")
def two_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash") / "shards"
    write_shards(folder, 2, samples=8)
    return folder


@pytest.mark.parametrize(
    "write_bytes",
    [
        pytest.param(None, id="as-it-is", marks=pytest.mark.timeout(300)),
        pytest.param(1, id="each-of-arrows-writes", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_resume_after_a_crash_at_every_operation(
    write_bytes: int | None, two_shards: Path, tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if write_bytes is not None:
        monkeypatch.setattr("curator.tables.sink._WRITE_BYTES", write_bytes)

    def config(name: str) -> Config:
        # One lease at a time and no beat of the lock, so that every run does the same operations in the same order.
        settings = {"attempts": 1, "in_flight": 1, "lock_ttl_s": 3600.0}
        return job_config(two_shards, tiny_encoder_dir, tmp_path / name, **settings)

    whole = CrashingStorage(open_storage())
    settings = config("whole")
    label(settings, fleet=local_fleet(settings, whole), storage=whole)
    expected = read_rows(settings.output.url)
    assert {"create", "upload.commit", "upload.write", "write", "replace", "delete"} <= set(whole.operations)

    for at in range(len(whole.operations)):
        for before in (True, False):
            settings = config(f"{at}-{before}")
            storage = CrashingStorage(open_storage(), at, before=before)
            with pytest.raises(Crash):
                label(settings, fleet=local_fleet(settings, storage), storage=storage)
            assert storage.operations == whole.operations[: at + 1]
            point = (at, whole.operations[at], before)
            summary = _resume(settings)
            assert summary.status == "complete", (point, summary)
            assert_same_rows(read_rows(settings.output.url), expected)
            problems = dict(verify_output(settings.output.url, open_storage()))
            assert not any(problems.values()), (point, problems)


def _resume(settings: Config) -> Summary:
    """Run again as an operator would. The dead run's lock names a process that is no more."""
    lock = Path(settings.output.url) / "_ledger" / "lock.json"
    if lock.exists():
        gone = subprocess.Popen(["true"])
        gone.wait()
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"pid": gone.pid}))
    return label(settings, fleet=local_fleet(settings))
