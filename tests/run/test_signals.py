"""Signals to a real `curator label`: it ends in time, leaves nothing half-done, says how to resume, and resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curator.config import Config
from curator.engine.maintain import verify_output
from curator.engine.run import label
from curator.storage import open_storage
from tests.run.jobs import Row, assert_same_rows, job_config, local_fleet, read_rows, write_shards

pytestmark = pytest.mark.timeout(300)
GRACE_S = 20.0
ENDS_S = GRACE_S + 60  # with what a busy machine takes to unwind; without an end, nothing would end it
SHARDS = 90


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals") / "shards"
    first, *_ = write_shards(folder, 1, samples=24)
    for number in range(1, SHARDS):
        (folder / f"{number:04d}.tar").hardlink_to(first)
    return folder


@pytest.fixture(scope="module")
def whole(many: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """The rows of a run without signals."""
    config = job_config(many, tiny_encoder_dir, tmp_path_factory.mktemp("whole") / "out")
    label(config, fleet=local_fleet(config))
    return read_rows(config.output.url)


def start(config: Config, *options: str) -> subprocess.Popen[str]:
    """`curator label` with the settings of ``config``."""
    program = "from curator.cli import main; main()"
    settings = {
        "encoder.name": config.encoder.name,
        "encoder.precision": config.encoder.precision,
        "encoder.batch_size": config.encoder.batch_size,
        "encoder.cache_dir": config.encoder.cache_dir,
        "output.embedding_dtype": "float32",
        "run.reject_budget": 0.5,
        "run.grace_s": GRACE_S,
        "run.backend": config.run.backend,
        "run.heartbeat_s": 0.2,
        "ray.workers": config.ray.workers,
    }
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = [
        sys.executable, "-c", program, "label", "-i", config.input.urls[0], "-o", config.output.url,
        "--vocabulary", config.labels[0].vocabulary, "--top-k", "3", *sets, *options,
    ]  # fmt: skip
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_receipts(config: Config, program: subprocess.Popen[str], count: int = 1) -> None:
    until = time.monotonic() + 120
    while len(list((Path(config.output.url) / "_ledger" / "receipts").glob("*.json"))) < count:
        assert program.poll() is None, program.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("backend", "number"),
    [
        ("local", signal.SIGTERM),
        ("local", signal.SIGINT),
        pytest.param("ray", signal.SIGTERM, marks=[pytest.mark.ray]),
        pytest.param("ray", signal.SIGINT, marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
def test_a_signal_stops_a_run_that_can_resume(
    backend: str, number: signal.Signals, many: Path, tiny_encoder_dir: Path, tmp_path: Path, whole: dict[str, Row]
) -> None:
    config = job_config(many, tiny_encoder_dir, tmp_path / "out", backend=backend)
    program = start(config)
    wait_for_receipts(config, program)
    program.send_signal(number)
    said = program.communicate(timeout=ENDS_S)[0]
    assert program.returncode == 128 + number, said
    assert "run the same command to resume" in said
    left = [path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in left if ".curator-tmp" in path.name or path.name == "lock.json"]
    receipts = [path for path in left if path.parent.name == "receipts"]
    assert 0 < len(receipts) < SHARDS
    assert len([path for path in left if path.name.startswith("part-")]) == len(receipts)

    local = job_config(many, tiny_encoder_dir, tmp_path / "out")
    assert label(local, fleet=local_fleet(local)).status == "complete"
    assert_same_rows(read_rows(local.output.url), whole)
    assert not any(problems for _, problems in verify_output(local.output.url, open_storage()))


def test_a_second_signal_ends_it_at_once(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", 1, samples=1500)
    write_shards(tmp_path / "shards" / "first", 1, samples=12)
    config = job_config(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out")
    program = start(config)
    wait_for_receipts(config, program)
    program.send_signal(signal.SIGINT)
    assert program.stdout is not None
    said = ""
    while "once more to stop at once" not in said:  # two signals before the first is heard are one
        line = program.stdout.readline()
        assert line, said
        said += line
    program.send_signal(signal.SIGINT)
    said += program.communicate(timeout=ENDS_S)[0]
    assert program.returncode == 130, said
    assert "stopping at once; run the same command again to resume" in said
    assert len(list((tmp_path / "out" / "_ledger" / "receipts").iterdir())) == 1
    assert not [path for path in (tmp_path / "out").rglob("*") if ".curator-tmp" in path.name]
