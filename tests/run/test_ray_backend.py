"""The Ray backend on a real Ray of this machine: the same rows as alone, whatever happens to its workers and nodes."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config
from curator.engine.compose import plan_worker
from curator.engine.fleet import WorkerLost, WorkerReady
from curator.engine.ledger import Ledger
from curator.engine.progress import Progress
from curator.engine.run import label
from curator.storage import open_storage
from tests.run.jobs import Row, assert_same_rows, job_config, local_fleet, read_rows, write_shards
from tests.run.sabotage import WAYS, Saboteur

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.usefixtures("ray_cluster")]

RESOURCES = {"workers": 2, "num_cpus": 1}
LOST = {"os._exit", "SIGKILL", "SIGSTOP", "hang"}


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard for each way to die."""
    folder = tmp_path_factory.mktemp("ways") / "shards"
    write_shards(folder, len(WAYS), samples=8)
    return folder


def ray_config(shards: Path, encoder: Path, output: Path, **run: object) -> Config:
    config = job_config(shards, encoder, output, backend="ray", **run)
    return Config.model_validate({**config.model_dump(), "ray": RESOURCES})


def sabotaged_fleet(config: Config, ways: dict[str, str], once: Path | None = None):
    from curator.engine.backends.ray import RayFleet, RayResources

    return RayFleet(Saboteur(plan_worker(config), ways, once), RayResources(workers=2, num_cpus=1), in_flight=2)


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


def test_workers_that_die_in_every_way_cost_no_row(
    seven: Path, tiny_encoder_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each way once, at a shard of its own, in one run."""
    ways = {f"{number:04d}.tar": way for number, way in enumerate(WAYS)}
    config = ray_config(seven, tiny_encoder_dir, tmp_path / "out", silence_s=5.0, stall_s=10.0, attempts=5)
    summary = label(config, fleet=sabotaged_fleet(config, ways, tmp_path / "once"))
    assert summary.status == "complete", summary
    assert sorted(path.name for path in (tmp_path / "once").iterdir()) == sorted(ways)
    alone = job_config(seven, tiny_encoder_dir, tmp_path / "alone")
    label(alone, fleet=local_fleet(alone))
    assert_same_rows(read_rows(config.output.url), read_rows(alone.output.url))
    said = [record.getMessage() for record in caplog.records]
    for shard, way in ways.items():
        failed = [line for line in said if line.startswith("attempt failed") and shard in line]
        assert len(failed) <= (way not in LOST), (way, failed)  # the news may die with the worker of another shard
    assert len([line for line in said if line.startswith("worker lost")]) >= len(LOST)
    assert any("no sign of life" in line for line in said)
    assert any("has not moved for" in line for line in said)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_dies_once_costs_no_row(
    way: str, shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out", silence_s=5.0, stall_s=10.0)
    summary = label(config, fleet=sabotaged_fleet(config, {"0001.tar": way}, tmp_path / "once"))
    assert summary.status == "complete", summary
    assert_same_rows(read_rows(config.output.url), undisturbed)


def test_a_poison_shard_is_quarantined_alone(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out", losses=2)
    summary = label(config, fleet=sabotaged_fleet(config, {"0002.tar": "os._exit"}))
    assert (summary.status, summary.exit_status) == ("over_budget", 1)
    assert [letter["url"] for letter in summary.quarantined] == [str(shards / "0002.tar")]
    letter = next(iter(Ledger(open_storage(), config.output.url).quarantined().values()))
    assert len(letter["attempts"]) == config.run.losses
    expected = {identity: row for identity, row in undisturbed.items() if identity in read_rows(config.output.url)}
    assert len(expected) == 36
    assert_same_rows(read_rows(config.output.url), expected)


def test_an_actor_killed_from_outside_costs_no_row(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    import psutil

    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out")
    killed = threading.Event()

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, WorkerReady) and not killed.is_set():
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):  # others come and go
                    if "ray::_Shell" in " ".join(process.cmdline()):
                        process.kill()
                        killed.set()
                        return

    summary = label(config, observe=observe)
    assert killed.is_set()
    assert summary.status == "complete"
    assert_same_rows(read_rows(config.output.url), undisturbed)


def test_a_node_that_dies_costs_no_row(
    ray_cluster: Any, seven: Path, tiny_encoder_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """kill -9 of a second node's raylet while the worker on it holds leases: no shard is begun before it is lost."""
    from curator.engine.backends.ray import RayFleet, RayResources

    config = ray_config(seven, tiny_encoder_dir, tmp_path / "out", silence_s=5.0)
    node = ray_cluster.add_node(num_cpus=2, resources={"place": 1})
    killed = threading.Event()

    def observe(progress: Progress) -> None:
        both_hold_leases = progress.fleet["ready"] == 2 and progress.news is None
        if both_hold_leases and not killed.is_set():
            killed.set()
            ray_cluster.remove_node(node, allow_graceful=False)
        elif isinstance(progress.news, WorkerLost):  # until then the orphaned worker could still finish its leases
            (tmp_path / "gate").touch()

    resources = RayResources(workers=2, num_cpus=1, resources={"place": 1})
    build = Saboteur(plan_worker(config), {}, gate=tmp_path / "gate")
    summary = label(config, observe=observe, fleet=RayFleet(build, resources, in_flight=2))
    assert killed.is_set()
    assert summary.status == "complete", summary
    assert "worker lost" in caplog.text
    alone = job_config(seven, tiny_encoder_dir, tmp_path / "alone")
    label(alone, fleet=local_fleet(alone))
    assert_same_rows(read_rows(config.output.url), read_rows(alone.output.url))


def test_an_actor_that_cannot_be_placed_ends_the_run_and_says_what_was_asked_for(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = ray_config(shards, tiny_encoder_dir, tmp_path / "out", startup_s=2.0, grace_s=1.0)
    config = Config.model_validate({**config.model_dump(), "ray": {"workers": 2, "num_gpus": 3}})
    summary = label(config)
    assert (summary.status, summary.exit_status) == ("fleet_lost", 1)
    assert "'num_gpus': 3.0" in summary.message
    assert "check that the cluster has the CPUs and GPUs that [ray] asks for" in summary.message
