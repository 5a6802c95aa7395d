"""Jobs submitted by the Jobs REST API to a real head, with its token: faults, stops and resumes.

By the CLI they are submitted as deploy/README.md says: ``test_readme_commands.py``.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from curator.engine.maintain import verify_output
from curator.engine.run import label
from curator.storage import open_storage
from tests.builders import make_samples, write_tar
from tests.ops.heads import Head
from tests.ops.settings import write_settings
from tests.run.jobs import assert_same_rows, job_config, local_fleet, read_rows, write_shards

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),  # Ray's client to aiohttp
]

ROOT = Path(__file__).parents[2]
SHARDS = 150


def finished(client: Any, job: str, *, within_s: float = 150) -> Any:
    """The job's details once it has ended."""
    until = time.monotonic() + within_s
    while not client.get_job_status(job).is_terminal():
        assert time.monotonic() < until, client.get_job_logs(job)
        time.sleep(0.2)
    return client.get_job_info(job)


def test_a_quarantined_shard_fails_the_job_and_its_message_says_why(
    head: Head, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", 1, samples=6)
    cut = write_tar(tmp_path / "shards" / "0001.tar", make_samples(6))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    config = write_settings(tmp_path / "job.toml", tmp_path / "shards", tiny_encoder_dir, output=tmp_path / "out")
    client = head.client()
    job = client.submit_job(entrypoint=f"python {ROOT}/jobs/label.py --config {config} --set run.attempts=1")
    followed = asyncio.run(follow(client, job))
    info = finished(client, job)
    assert (str(info.status), info.driver_exit_code) == ("FAILED", 1)
    assert f"quarantined: {cut}: " in info.message
    assert "or keep its whole samples with --salvage" in info.message.split(f"quarantined: {cut}: ")[1]
    assert "shard done url=" in followed
    assert followed == client.get_job_logs(job)


async def follow(client: Any, job: str) -> str:
    return "".join([lines async for lines in client.tail_job_logs(job)])


@pytest.mark.parametrize("token", [None, "0" * 64], ids=["without", "with another"])
def test_nobody_is_heard_without_the_token(head: Head, token: str | None) -> None:
    assert head.get("/api/jobs/")[0] == 200
    assert head.get("/api/jobs/", token=token)[0] in (401, 403)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Shards of the same samples: enough to be in the middle of for as long as a command takes to start."""
    first, *_ = write_shards(tmp_path / "shards", 1, samples=24)
    for number in range(1, SHARDS):
        (tmp_path / "shards" / f"{number:04d}.tar").hardlink_to(first)
    return tmp_path / "shards"


def await_first_shard(client: Any, job: str, output: Path) -> None:
    until = time.monotonic() + 150
    while not receipts(output):
        assert time.monotonic() < until, client.get_job_logs(job)
        time.sleep(0.05)


def receipts(output: Path) -> list[Path]:
    return list((output / "_ledger" / "receipts").glob("*.json"))


def assert_whole(output: Path, shards: Path, encoder: Path, alone: Path) -> None:
    """The rows of one worker that nothing happened to."""
    config = job_config(shards, encoder, alone)
    label(config, fleet=local_fleet(config))
    assert_same_rows(read_rows(output), read_rows(alone))
    assert not any(problems for _, problems in verify_output(str(output), open_storage()))


@pytest.mark.slow
def test_a_stopped_job_leaves_what_the_next_one_finishes(
    head: Head, many: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    config = write_settings(tmp_path / "job.toml", many, tiny_encoder_dir, output=output)
    client = head.client()
    entrypoint = f"python {ROOT}/jobs/label.py --config {config}"
    patience = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}
    job = client.submit_job(entrypoint=entrypoint, runtime_env=patience)
    await_first_shard(client, job, output)
    head.ray("job", "stop", job)
    assert str(finished(client, job).status) == "STOPPED"
    assert "run the same command to resume" in client.get_job_logs(job)
    assert 0 < len(receipts(output)) < SHARDS
    assert not (output / "_ledger" / "lock.json").exists()
    again = client.submit_job(entrypoint=entrypoint, runtime_env=patience)
    assert str(finished(client, again).status) == "SUCCEEDED"
    assert_whole(output, many, tiny_encoder_dir, tmp_path / "alone")


@pytest.mark.slow
def test_sigterm_to_a_node_drains_it_and_costs_no_lease(
    head: Head, many: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    """What Kubernetes sends to a pod: Ray drains the node, its actor ends its leases, and the next node goes on."""
    output, place = tmp_path / "out", ("--num-cpus=1", '--resources={"spot": 1}')
    config = write_settings(tmp_path / "job.toml", many, tiny_encoder_dir, output=output, resources="{spot = 1}")
    node = head.add_node(*place, drain_s=60)
    client = head.client()
    job = client.submit_job(entrypoint=f"python {ROOT}/jobs/label.py --config {config}")
    await_first_shard(client, job, output)
    node.terminate()
    head.add_node(*place)
    assert str(finished(client, job).status) == "SUCCEEDED"
    said = client.get_job_logs(job)
    assert said.count("worker leaving worker=ray-0") == 1
    assert "worker lost" not in said
    assert node.wait(60) is not None
    assert_whole(output, many, tiny_encoder_dir, tmp_path / "alone")


@pytest.mark.slow
def test_two_pods_of_a_night_share_one_job(head: Head, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    """deploy/cron/on-ray.sh, as two pods of the CronJob would run it at once."""
    write_shards(tmp_path / "shards", 2, samples=6)
    config = write_settings(tmp_path / "job.toml", tmp_path / "shards", tiny_encoder_dir, output=tmp_path / "out")
    environment = {
        **head.environment, "CURATOR_JOBS": str(ROOT / "jobs"), "CURATOR_RUN_ID": "night", "CURATOR_PAUSE_S": "2",
    }  # fmt: skip
    command = [ROOT / "deploy" / "cron" / "on-ray.sh", "--config", str(config)]
    pods = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [pod.communicate(timeout=280)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], said
    assert [job.submission_id for job in head.client().list_jobs()].count("nightly-night") == 1
    assert len(receipts(tmp_path / "out")) == 2
    assert (tmp_path / "out" / "_ledger" / "runs" / "night.json").exists()
