"""Relabelling on a real local Ray: the same rows as on one machine, also when an actor is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.config import Config
from curator.curation.relabel import plan_relabel, relabel
from tests.curation.jobs import make_source, relabel_config, run, table
from tests.run.sabotage import Saboteur

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.usefixtures("ray_cluster")]


def test_same_rows_as_alone_and_a_killed_actor_costs_none(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    from curator.engine.backends.ray import RayFleet, RayResources

    source = make_source(tmp_path, tiny_encoder_dir)
    run(relabel_config(source, tmp_path / "alone"))
    expected = table(tmp_path / "alone")

    def settings(name: str) -> Config:
        config = relabel_config(source, tmp_path / name, backend="ray")
        return Config.model_validate({**config.model_dump(exclude_unset=True), "ray": {"workers": 2, "num_cpus": 1}})

    summary = relabel(settings("spread"))
    assert (summary.status, summary.totals["rows"]) == ("complete", 24)
    assert table(tmp_path / "spread").equals(expected)

    config = settings("killed")
    plan, _ = plan_relabel(config)
    build = Saboteur(plan, {"0001.tar": "SIGKILL"}, tmp_path / "once")
    fleet = RayFleet(build, RayResources(workers=2, num_cpus=1), in_flight=2)
    assert relabel(config, fleet=fleet).status == "complete"
    assert (tmp_path / "once").exists()
    assert table(tmp_path / "killed").equals(expected)
