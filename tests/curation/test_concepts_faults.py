"""Counts stay exact through a faulty network to S3, and on Ray when a worker is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curator.config import Config
from curator.curation.concepts import concept_frequencies
from curator.engine.compose import storage_of
from curator.storage import join
from tests.curation.made_runs import make_run, random_rows
from tests.curation.test_concepts import REQUEST, assert_exact, count
from tests.faults.proxy import FaultyProxy, Plan, SeededPlan, make_proxy
from tests.faults.s3_server import S3Server, s3_server
from tests.run.sabotage import Saboteur

__all__ = ["make_proxy", "s3_server"]
FILES = ("concepts.parquet", "captions.parquet", "images.parquet", "entries-entries.parquet", "entries-entries.json",
         "entries-things.json", "totals.json")  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_through_a_faulty_network(
    seed: int, tmp_path: Path, s3_server: S3Server, make_proxy: Callable[[tuple[str, int], Plan], FaultyProxy]
) -> None:
    parts = [random_rows(30, number) for number in range(3)]
    run = make_run(tmp_path / "run", parts)
    bucket = s3_server.bucket(f"concepts-{seed}")  # its name is in those of the outputs, which the faults go by
    for path in (each for each in run.rglob("*") if each.is_file()):
        s3_server.client().put_object(Bucket=bucket, Key=f"run/{path.relative_to(run)}", Body=path.read_bytes())
    faults = ("slow_down", "cut", "reset", "lost_answer", "cut_request")
    proxy = make_proxy((s3_server.host, s3_server.port), SeededPlan(seed=seed, rate=0.15, kinds=faults))

    def config(endpoint_url: str) -> Config:
        waits = {"connect_timeout_s": 2.0, "read_timeout_s": 30.0, "backoff_s": 0.01, "backoff_cap_s": 0.05}
        return Config.model_validate(
            {
                "input": {"run": f"s3://{bucket}/run"},
                "output": {"url": f"s3://{bucket}/out"},
                "storage": {"endpoint_url": endpoint_url, "addressing_style": "path", **waits},
                "run": {"backoff_s": 0.05, "grace_s": 5.0},
            }
        )

    found = concept_frequencies(config(proxy.endpoint_url), REQUEST)
    assert found.summary.status == "complete", found.summary
    assert sum(proxy.faults().values()) >= 5
    clean = config(s3_server.endpoint_url)
    storage, local = storage_of(clean), tmp_path / "out"
    local.mkdir()
    for name in FILES:
        (local / name).write_bytes(storage.read(join(clean.output.url, name)))
    assert_exact(local, parts)
    assert s3_server.pending_uploads(bucket) == []


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_on_ray_with_a_killed_worker(tmp_path: Path, ray_cluster: object) -> None:
    from curator.engine.backends.ray import RayFleet, RayResources

    parts = [random_rows(40, number) for number in range(4)]
    run = make_run(tmp_path / "run", parts)
    alone = count(run, tmp_path / "alone")
    config = Config.model_validate(
        {"input": {"run": str(run)}, "output": {"url": str(tmp_path / "out")}, "run": {"backoff_s": 0.05}}
    )

    def fleet(plan: object, _: object) -> RayFleet:
        build = Saboteur(plan, {"s1.tar": "SIGKILL"}, tmp_path / "once")
        return RayFleet(build, RayResources(workers=2, num_cpus=1), in_flight=1)

    found = concept_frequencies(config, REQUEST, fleet=fleet)
    assert found.summary.status == "complete"
    assert (tmp_path / "once").exists()
    assert_exact(tmp_path / "out", parts)
    for name in FILES[:4]:
        assert pq.read_table(tmp_path / "out" / name).equals(pq.read_table(tmp_path / "alone" / name)), name
    assert found.totals == alone.totals
    assert found.summary.totals["rows"] == 160
