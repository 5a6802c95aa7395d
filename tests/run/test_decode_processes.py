"""The main job with images decoded in processes: the same rows, on both backends, and no process stays behind."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest

from curator.config import Config
from curator.engine.run import label
from tests.run.jobs import Row, assert_same_rows, job_config, local_fleet, read_rows

PROCESSES = {"workers": "processes", "threads": 2}


def decode_programs() -> list[psutil.Process]:
    """Those of this process, and of its Ray's actors."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends while it is looked at
            if any("decode_program" in word for word in child.cmdline()):
                found.append(child)
    return found


def with_processes(config: Config) -> Config:
    return Config.model_validate({**config.model_dump(), "decode": PROCESSES})


def test_the_same_rows_as_with_threads(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = with_processes(job_config(shards, tiny_encoder_dir, tmp_path / "out"))
    fleet = local_fleet(config)
    seen = []
    summary = label(config, fleet=fleet, observe=lambda progress: seen.append(len(decode_programs())))
    assert summary.status == "complete"
    assert_same_rows(read_rows(tmp_path / "out"), undisturbed)
    assert max(seen) == 3, "a nursery and a process for each of two at a time"
    assert summary.this_run["seconds"]["decode"] > 0
    assert decode_programs() == []


@pytest.mark.ray
def test_the_same_rows_in_actors(
    ray_cluster: None, shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = with_processes(job_config(shards, tiny_encoder_dir, tmp_path / "out", backend="ray"))
    summary = label(config)
    assert summary.status == "complete", summary
    assert_same_rows(read_rows(tmp_path / "out"), undisturbed)
    assert decode_programs() == []
