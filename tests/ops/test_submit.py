"""Jobs submitted to a real head that has no GPU, with token authentication: by the CLI and by the Jobs REST API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.engine.maintain import verify_output
from curator.engine.run import label
from curator.storage import open_storage
from tests.builders import make_samples, write_tar
from tests.ops.heads import Head
from tests.run.jobs import assert_same_rows, job_config, local_fleet, read_rows, write_shards

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),  # Ray's client to aiohttp
]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head with two CPUs and no GPU, and a second node that says it has one."""
    head = Head(["--num-cpus=2", "--num-gpus=0", "--dashboard-host=127.0.0.1"])
    head.add_node("--num-cpus=2", "--num-gpus=1")
    yield head
    head.stop()


def settings(folder: Path, encoder: Path, output: Path, **ray: Any) -> Path:
    """A config file for the shards in ``folder``."""
    config = job_config(folder, encoder, output, grace_s=20.0)
    asked = "\n".join(f"{name} = {value}" for name, value in ray.items())
    path = output.with_suffix(".toml")
    path.write_text(
        f"""
[input]
urls = ["{folder}"]
[output]
url = "{output}"
embedding_dtype = "float32"
[encoder]
name = "{config.encoder.name}"
precision = "float32"
device = "cpu"
batch_size = 8
cache_dir = "{config.encoder.cache_dir}"
[[labels]]
vocabulary = "{config.labels[0].vocabulary}"
top_k = 3
[run]
reject_budget = 0.5
grace_s = 20.0
heartbeat_s = 0.2
[ray]
{asked}
"""
    )
    return path


def finished(client: Any, job: str, *, within_s: float = 150) -> Any:
    """The job's details once it has ended."""
    until = time.monotonic() + within_s
    while not client.get_job_status(job).is_terminal():
        assert time.monotonic() < until, client.get_job_logs(job)
        time.sleep(0.2)
    return client.get_job_info(job)


def test_the_cli_submits_and_follows_a_job_whose_gpu_is_on_another_node(
    head: Head, shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: Any
) -> None:
    config = settings(shards, tiny_encoder_dir, tmp_path / "out", num_gpus=1)
    said = head.ray(
        "job", "submit", "--runtime-env", "jobs/runtime_env.yaml", "--working-dir", ".", "--submission-id", "by-cli",
        "--", "python", "jobs/label.py", "--config", str(config), "--set", "ray.workers=2",
        cwd=ROOT,
    )  # fmt: skip
    assert said.count("shard done url=") == 4
    assert "complete: 4 shards done" in said
    assert "Job 'by-cli' succeeded" in said
    assert_same_rows(read_rows(tmp_path / "out"), undisturbed)


def test_a_quarantined_shard_fails_the_job_and_its_message_says_why(
    head: Head, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", 1, samples=6)
    cut = write_tar(tmp_path / "shards" / "0001.tar", make_samples(6))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    config = settings(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out")
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


@pytest.mark.slow
def test_a_stopped_job_leaves_what_the_next_one_finishes(head: Head, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    first, *_ = write_shards(tmp_path / "shards", 1, samples=24)
    for number in range(1, 60):
        (tmp_path / "shards" / f"{number:04d}.tar").hardlink_to(first)
    config = settings(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out")
    client = head.client()
    entrypoint = f"python {ROOT}/jobs/label.py --config {config}"
    patience = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}
    job = client.submit_job(entrypoint=entrypoint, runtime_env=patience)
    receipts = tmp_path / "out" / "_ledger" / "receipts"
    until = time.monotonic() + 150
    while not list(receipts.glob("*.json")):
        assert time.monotonic() < until, client.get_job_logs(job)
        time.sleep(0.05)
    head.ray("job", "stop", job)
    info = finished(client, job)
    assert str(info.status) == "STOPPED"
    assert "run the same command to resume" in client.get_job_logs(job)
    assert 0 < len(list(receipts.glob("*.json"))) < 60
    assert not (tmp_path / "out" / "_ledger" / "lock.json").exists()
    again = client.submit_job(entrypoint=entrypoint, runtime_env=patience)
    assert str(finished(client, again).status) == "SUCCEEDED"
    alone = job_config(tmp_path / "shards", tiny_encoder_dir, tmp_path / "alone")
    label(alone, fleet=local_fleet(alone))
    assert_same_rows(read_rows(tmp_path / "out"), read_rows(alone.output.url))
    assert not any(problems for _, problems in verify_output(str(tmp_path / "out"), open_storage()))
