"""An elastic fleet on a real Ray: nodes that die, come and are drained in mid-run, spread, and shares of a GPU."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config
from curator.engine.backends.ray import RayFleet, RayResources
from curator.engine.backends.ray_nodes import DrainWatch
from curator.engine.compose import plan_worker, ray_resources
from curator.engine.fleet import LeaseDone, WorkerLeaving, WorkerLost, WorkerReady
from curator.engine.maintain import verify_output
from curator.engine.progress import Progress
from curator.engine.run import label
from curator.storage import open_storage
from tests.ops.pacing import Idle, Paced
from tests.run.jobs import Row, assert_same_rows, job_config, local_fleet, read_rows, write_shards

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SHARDS = 40


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elastic") / "shards"
    write_shards(folder, SHARDS, samples=6)
    return folder


@pytest.fixture(scope="module")
def rows_alone(forty: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """The rows of a run on one worker that nothing happens to."""
    config = job_config(forty, tiny_encoder_dir, tmp_path_factory.mktemp("alone") / "out")
    label(config, fleet=local_fleet(config))
    return read_rows(config.output.url)


def elastic_config(shards: Path, encoder: Path, output: Path, *, ray: dict[str, Any], **run: Any) -> Config:
    config = job_config(shards, encoder, output, backend="ray", **run)
    return Config.model_validate({**config.model_dump(), "ray": ray})


def fleet_of(config: Config, build: Callable[[], Any]) -> RayFleet:
    return RayFleet(build, ray_resources(config), in_flight=config.run.in_flight, watch=DrainWatch(0.2))


@contextmanager
def nodes(cluster: Any, *settings: dict[str, Any]) -> Iterator[list[Any]]:
    """Nodes beside the head of the shared cluster; whichever are left at the end are removed."""
    added = [cluster.add_node(**each) for each in settings]
    try:
        yield added
    finally:
        for node in added:
            if node in cluster.list_all_nodes():
                cluster.remove_node(node, allow_graceful=False)


def test_forty_shards_while_one_node_dies_and_another_comes(
    ray_cluster: Any, forty: Path, tiny_encoder_dir: Path, tmp_path: Path, rows_alone: dict[str, Row]
) -> None:
    """Two nodes, a place on each; at half-time one is killed with its leases, and only then a third one comes.

    Three actors are wanted all the while, so that the first shards are done while one waits for a place.
    """
    place = {"num_cpus": 1, "resources": {"elastic": 1}}
    config = elastic_config(
        forty,
        tiny_encoder_dir,
        tmp_path / "out",
        ray={"workers": 3, "min_workers": 2, "num_cpus": 1, "resources": {"elastic": 1}},
    )
    paced = Paced(plan_worker(config), tmp_path / "gate", from_shard=SHARDS // 2)
    ready, lost, done_by = [], [], {}
    with nodes(ray_cluster, place, place) as ours:

        def observe(progress: Progress) -> None:
            news = progress.news
            if isinstance(news, WorkerReady):
                ready.append(news.worker)
            elif isinstance(news, WorkerLost):
                lost.append(news)
            elif isinstance(news, LeaseDone):
                done_by[news.lease.shard.url] = news.worker
            if progress.settled == SHARDS // 2 and len(ours) == 2 and progress.fleet["ready"] == 2 and news is None:
                ray_cluster.remove_node(ours[1], allow_graceful=False)
                ours.append(ray_cluster.add_node(**place))
            if lost and len(ready) == 3:
                (tmp_path / "gate").touch()

        summary = label(config, observe=observe, fleet=fleet_of(config, paced))
    assert (summary.status, summary.exit_status) == ("complete", 0), summary
    assert (summary.shards["done"], summary.shards["quarantined"]) == (SHARDS, 0)
    assert len(ready) == 3
    assert [news.evicted for news in lost if news.worker in ready] == [True], lost  # successors may be sent there, too
    gone = {news.worker for news in lost}  # it may have come too late to do more than hold leases
    assert set(ready) - gone <= set(done_by.values()), "both others did some of the work"
    assert_same_rows(read_rows(config.output.url), rows_alone)
    assert not any(problems for _, problems in verify_output(config.output.url, open_storage()))


@pytest.mark.slow
def test_a_node_that_is_drained_ends_its_leases_and_is_replaced(
    ray_cluster: Any, forty: Path, tiny_encoder_dir: Path, tmp_path: Path, rows_alone: dict[str, Row]
) -> None:
    """`ray drain-node`, as an autoscaler or a preStop hook does it: no lease is lost, and none is given there after."""
    place = {"num_cpus": 1, "resources": {"drained": 1}}
    config = elastic_config(
        forty, tiny_encoder_dir, tmp_path / "out", ray={"workers": 1, "num_cpus": 1, "resources": {"drained": 1}}
    )
    paced = Paced(plan_worker(config), tmp_path / "gate", from_shard=2)
    left, lost, ready, done_by = [], [], [], {}
    with nodes(ray_cluster, place) as ours:

        def observe(progress: Progress) -> None:
            news = progress.news
            if isinstance(news, WorkerReady):
                ready.append(news.worker)
            elif isinstance(news, LeaseDone):
                done_by[news.lease.shard.url] = news.worker
            elif isinstance(news, WorkerLeaving):
                left.append(news.worker)
                ours.append(ray_cluster.add_node(**place))
                (tmp_path / "gate").touch()
            elif isinstance(news, WorkerLost):
                lost.append(news)
            if progress.settled == 2 and len(ours) == 1 and news is None and not (tmp_path / "noticed").exists():
                (tmp_path / "noticed").touch()
                drain(ray_cluster.address, ours[0].node_id)

        summary = label(config, observe=observe, fleet=fleet_of(config, paced))
    assert summary.status == "complete", summary
    assert (lost, left) == ([], ready[:1])
    counts = [list(done_by.values()).count(worker) for worker in ready]
    assert counts == [2 + config.run.in_flight, SHARDS - 2 - config.run.in_flight]
    assert_same_rows(read_rows(config.output.url), rows_alone)


def drain(address: str, node: str) -> None:
    subprocess.run(
        [
            str(Path(sys.executable).with_name("ray")), "drain-node", "--address", address, "--node-id", node,
            "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


@pytest.mark.slow
def test_fewer_workers_than_the_minimum_are_an_error_that_says_so(
    ray_cluster: Any, forty: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    """One place for the two that are wanted at least: shards are given out meanwhile, until no second has come.

    ``tests/engine/test_driver_elastic.py`` has the same under a clock of its own.
    """
    config = elastic_config(
        forty,
        tiny_encoder_dir,
        tmp_path / "out",
        ray={"workers": 2, "min_workers": 2, "num_cpus": 1, "resources": {"few": 1}},
        startup_s=20.0,
        grace_s=1.0,
    )
    with nodes(ray_cluster, {"num_cpus": 1, "resources": {"few": 1}}):
        summary = label(config, fleet=fleet_of(config, Idle))
    assert (summary.status, summary.exit_status) == ("fleet_lost", 1)
    assert "only 1 of at least 2 workers were ready for 20 s" in summary.message


def test_quarters_of_a_gpu_and_actors_on_every_node(ray_cluster: Any) -> None:
    """Two nodes that say they have a GPU: four actors of a quarter each are spread over both, where one has room."""
    from ray._private.state import available_resources_per_node

    gpu = {"num_cpus": 4, "num_gpus": 1, "resources": {"shared": 4}}
    resources = RayResources(workers=4, num_cpus=0.5, num_gpus=0.25, resources={"shared": 1})
    fleet = RayFleet(Idle, resources)
    with nodes(ray_cluster, gpu, gpu) as ours:
        fleet.start()
        ready: list[str] = []
        until = time.monotonic() + 100
        while len(ready) < 4 and time.monotonic() < until:
            ready += [news.worker for news in fleet.wait(0.5) if isinstance(news, WorkerReady)]
        assert len(ready) == 4
        free: list[float] = []
        while free != [0.5, 0.5] and time.monotonic() < until:  # what Ray knows of its nodes is some moments old
            known = available_resources_per_node()
            free = [known[node.node_id].get("GPU", 0.0) for node in ours]
        fleet.close(1.0)
    assert free == [0.5, 0.5]
