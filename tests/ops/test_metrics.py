"""Metrics of real runs: what is scraped while a run ends is what its receipts say, on one machine and on Ray."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config
from curator.engine.backends.local import LocalFleet
from curator.engine.compose import plan_worker, wire_worker
from curator.engine.ledger import Ledger
from curator.engine.metrics import METRICS
from curator.engine.progress import Progress, Totals
from curator.engine.run import label
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.ops.pacing import Paced
from tests.ops.scraping import expected, free_port, scrape
from tests.run.jobs import job_config, local_fleet, open_encoder, write_shards

LABELS = ("output", "status", "reason", "stage", "outcome", "state", "verdict", "le")


def totals_of(output: str) -> dict[str, Any]:
    """Sums over the receipts, at full precision."""
    totals = Totals()
    for receipt in Ledger(open_storage(), output).receipts():
        totals.add(receipt)
    return {**totals.to_dict(), "seconds": totals.seconds}


def about(wanted: Mapping[tuple[str, ...], float]) -> Any:
    return pytest.approx(dict(wanted), abs=1e-6)


def assert_all(found: Mapping[tuple[str, ...], float], wanted: Mapping[tuple[str, ...], float]) -> None:
    assert {key: found.get(key) for key in wanted} == about(wanted)


def job(tmp_path: Path, encoder: Path, **run: Any) -> Config:
    return job_config(tmp_path / "in", encoder, tmp_path / "out", **run)


def test_a_local_run_is_scraped_and_agrees_with_its_receipts(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "in", 3)
    (tmp_path / "in" / "9999.tar").write_bytes(b"this is no tar" * 100)
    port = free_port()
    config = job(tmp_path, tiny_encoder_dir, metrics_port=port, heartbeat_s=0.02)
    scrapes: list[dict[tuple[str, ...], float]] = []
    gate, output = tmp_path / "gate", config.output.url

    def observe(progress: Progress) -> None:
        if progress.news is None or progress.settled == progress.shards:
            scrapes.append(scrape(port, LABELS))
            if scrapes[-1][("curator_in_flight_shards", output)] > 0:
                gate.touch()  # no shard is begun before one was seen in flight

    plan, encoder = plan_worker(config), open_encoder(config.encoder.name)
    paced = Paced(lambda: wire_worker(plan, encoder, open_storage()), gate)
    summary = label(config, observe=observe, fleet=LocalFleet(paced, in_flight=config.run.in_flight))
    last = scrapes[-1]
    assert_all(last, expected(totals_of(output), output))
    assert_all(
        last,
        {
            ("curator_shards_total", output, "quarantined"): 1,
            ("curator_quarantined_shards", output): 1,
            ("curator_attempts_total", output): 4,
            ("curator_attempt_failures_total", output, "shard"): 1,
            ("curator_planned_shards", output): 4,
            ("curator_queued_shards", output): 0,
            ("curator_in_flight_shards", output): 0,
            ("curator_workers", output, "ready"): 1,
            ("curator_shard_seconds_count", output): 3,
        },
    )
    assert summary.shards["done"] == 3
    assert scrapes[0][("curator_planned_shards", output)] == 4  # from the very beginning
    assert scrapes[0][("curator_shards_total", output, "done")] == 0
    assert last[("curator_images_per_second", output)] >= 0
    assert 0 <= last[("curator_device_busy_ratio", output)] <= 1
    names = {key[0] for key in last}
    for earlier, later in itertools.pairwise(scrapes):  # counters never fall
        assert all(later[key] >= value for key, value in earlier.items() if key[0].endswith("_total"))
    for metric in METRICS:
        name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
        assert name in names or metric.name == "curator_workers_lost_total", f"{metric.name} was not exported"
    with pytest.raises(OSError, match="refused"):
        scrape(port, LABELS)


def test_a_port_that_is_taken_ends_the_run_before_it_begins(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "in", 1)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()
        config = job(tmp_path, tiny_encoder_dir, metrics_port=place.getsockname()[1])
        with pytest.raises(ConfigError, match="choose another port"):
            label(config, fleet=local_fleet(config))
    assert not (tmp_path / "out" / "_ledger" / "receipts").exists()


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_run_on_ray_is_exported_by_rays_agent(tmp_path: Path, tiny_encoder_dir: Path, ray_cluster: Any) -> None:
    import ray

    write_shards(tmp_path / "in", 2)
    config = job(tmp_path, tiny_encoder_dir, backend="ray")
    assert label(config).status == "complete"
    output = config.output.url
    wanted = {(f"ray_{name}", *rest): value for (name, *rest), value in expected(totals_of(output), output).items()}
    # Not any node that is alive: one that an earlier test killed counts as alive for a while.
    head = ray_cluster.head_node.node_id
    port = next(node["MetricsExportPort"] for node in ray.nodes() if node["NodeID"] == head)
    found: dict[tuple[str, ...], float] = {}
    until = time.monotonic() + 120
    while time.monotonic() < until and {key: found.get(key) for key in wanted} != about(wanted):
        time.sleep(1.0)  # the agent hears of them bit by bit
        found = scrape(port, LABELS, "ray_curator_")
    assert_all(found, wanted)


def test_the_dashboard_asks_only_for_what_is_exported() -> None:
    text = (Path(__file__).parents[2] / "deploy" / "grafana.json").read_text()
    queries = [target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", ())]
    assert len(queries) >= 10
    exported = {}
    for metric in METRICS:
        names = (f"{metric.name}_bucket", f"{metric.name}_sum", f"{metric.name}_count")
        exported |= dict.fromkeys(names if metric.kind == "histogram" else (metric.name,), metric)
    asked = set()
    for query in queries:
        found = re.findall(r"\$\{prefix\}(\w+)(?:\{([^}]*)\})?", query)
        assert found, f"{query}: no metric"
        assert not re.search(r"(?<!\$\{prefix\})\bcurator_", query), f"{query}: a metric without its prefix"
        for name, selector in found:
            assert name in exported, f"{query}: {name} is not exported"
            asked.add(exported[name].name)
            for label_name in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
                assert label_name in exported[name].all_labels, f"{query}: {name} has no label {label_name}"
        for group in re.findall(r"\bby\s*\(([^)]*)\)", query):
            known = {label_name for name, _ in found for label_name in exported[name].all_labels} | {"le"}
            assert {each.strip() for each in group.split(",")} <= known, query
    assert {metric.name for metric in METRICS} - asked == set(), "a metric that no panel shows"
