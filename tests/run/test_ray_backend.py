"""The Ray backend on a real local Ray with two actors: the same rows as alone, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from curator.config import Config
from curator.engine.compose import plan_worker
from curator.engine.fleet import WorkerReady
from curator.engine.ledger import Ledger
from curator.engine.progress import Progress
from curator.engine.run import label
from curator.storage import open_storage
from tests.run.jobs import Row, assert_same_rows, job_config, read_rows
from tests.run.sabotage import Saboteur

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.usefixtures("ray_cluster")]

RESOURCES = {"workers": 2, "num_cpus": 1}


def ray_config(shards: Path, encoder: Path, output: Path, **run: object) -> Config:
    config = job_config(shards, encoder, output, backend="ray", **run)
    return Config.model_validate({**config.model_dump(), "ray": RESOURCES})


def sabotaged_fleet(config: Config, shard: str, way: str, once: Path | None):
    from curator.engine.backends.ray import RayFleet, RayResources

    build = Saboteur(plan_worker(config), shard, way, once)
    return RayFleet(build, RayResources(workers=2, num_cpus=1), in_flight=2)


def test_same_rows_as_alone_and_a_second_run_does_nothing(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out")
    summary = label(config)
    assert (summary.status, summary.exit_status) == ("complete", 0)
    assert_same_rows(read_rows(config.output.url), undisturbed)
    again = label(config)
    assert again.status == "complete"
    assert again.this_run["shards"] == 0
    assert again.totals == summary.totals


@pytest.mark.parametrize("way", ["exception", "sys.exit", "os._exit", "SIGKILL", "SIGSTOP", "MemoryError", "hang"])
def test_a_worker_that_dies_once_costs_no_row(
    way: str, shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out", silence_s=3.0, stall_s=6.0)
    started = time.monotonic()
    summary = label(config, fleet=sabotaged_fleet(config, "0001.tar", way, tmp_path / "once"))
    assert time.monotonic() - started < 90
    assert summary.status == "complete", summary
    assert_same_rows(read_rows(config.output.url), undisturbed)


def test_a_poison_shard_is_quarantined_alone(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out")
    summary = label(config, fleet=sabotaged_fleet(config, "0002.tar", "os._exit", None))
    assert (summary.status, summary.exit_status) == ("over_budget", 1)
    assert [letter["url"] for letter in summary.quarantined] == [str(shards / "0002.tar")]
    letter = next(iter(Ledger(open_storage(), config.output.url).quarantined().values()))
    assert len(letter["attempts"]) == config.run.losses
    expected = {identity: row for identity, row in undisturbed.items() if identity in read_rows(config.output.url)}
    assert len(expected) == 36
    assert_same_rows(read_rows(config.output.url), expected)


def test_actors_killed_from_outside_cost_no_row(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    import psutil

    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out")
    killed = threading.Event()

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, WorkerReady) and not killed.is_set():
            actors = [process for process in psutil.process_iter(["cmdline"]) if _is_actor(process)]
            assert actors
            os.kill(actors[0].pid, signal.SIGKILL)
            killed.set()

    summary = label(config, observe=observe)
    assert killed.is_set()
    assert summary.status == "complete"
    assert_same_rows(read_rows(config.output.url), undisturbed)


def _is_actor(process: object) -> bool:
    return any("ray::_Shell" in part for part in process.info["cmdline"] or ())
