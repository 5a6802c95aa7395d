"""Runs that have a name: done once, told apart, and begun anew where they did not complete."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config, load_config
from curator.engine.fleet import LeaseDone
from curator.engine.ledger import Ledger
from curator.engine.maintain import retry
from curator.engine.progress import Progress, Summary
from curator.engine.run import ignore_progress, label
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.builders import make_samples, write_tar
from tests.run.jobs import job_config, local_fleet, read_rows, write_shards


def start(config: Config, **options: Any) -> Summary:
    return label(config, fleet=local_fleet(config), **options)


def named(folder: Path, encoder: Path, output: Path, run_id: str, **run: Any) -> Config:
    return job_config(folder, encoder, output, id=run_id, **run)


def test_a_finished_run_is_not_done_again_and_the_next_one_is(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", 2, samples=6)
    first = start(named(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", "2026-11-22"))
    assert (first.status, first.run_id) == ("complete", "2026-11-22")
    assert first.ended is not None
    write_tar(tmp_path / "shards" / "0002.tar", make_samples(6, seed=9))
    again = start(named(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", "2026-11-22"))
    assert (again.status, again.exit_status, again.this_run["shards"]) == ("complete", 0, 0)
    assert again.message == f"run 2026-11-22 was completed {first.ended}: nothing is done for it again"
    assert again.totals == first.totals
    assert len(read_rows(tmp_path / "out")) == 12
    second = start(named(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", "2026-11-23"))
    assert (second.this_run["shards"], second.shards["done"]) == (1, 3)
    ledger = tmp_path / "out" / "_ledger"
    assert sorted(path.name for path in (ledger / "runs").iterdir()) == ["2026-11-22.json", "2026-11-23.json"]
    assert json.loads((ledger / "summary.json").read_text()) == second.to_dict()
    late = start(named(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", "2026-11-22"))
    assert late.this_run["shards"] == 0
    assert json.loads((ledger / "summary.json").read_text()) == second.to_dict()


def test_a_run_that_was_stopped_goes_on_under_its_name(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", 4, samples=6)
    config = named(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", "night", in_flight=1)
    stop = threading.Event()
    ledger = Ledger(open_storage(), config.output.url)
    at_work: list[Any] = []

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone):
            stop.set()

    def observe_again(progress: Progress) -> None:
        at_work.append((ledger.summary(), ledger.summary("night")))

    stopped = start(config, observe=observe, stop=stop)
    assert stopped.status == "stopped"
    assert ledger.summary("night") == ledger.summary() == stopped.to_dict()
    assert start(config, observe=observe_again).status == "complete"
    assert set(at_work) == {(None, None)}
    recorded = ledger.summary("night")
    assert recorded is not None
    assert recorded["status"] == "complete"


def test_a_retry_is_no_run_of_that_name(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", 2, samples=6)
    whole = (tmp_path / "shards" / "0001.tar").read_bytes()
    (tmp_path / "shards" / "0001.tar").write_bytes(whole[: len(whole) // 2])
    config = named(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", "night", attempts=1, quarantine_budget=0.5)
    assert start(config).status == "complete"
    (tmp_path / "shards" / "0001.tar").write_bytes(whole)

    def again(config: Config, **options: Any) -> Summary:
        return start(config, **options)

    summary = retry(config.output.url, open_storage(), observe=ignore_progress, start=again)
    assert (summary.this_run["shards"], summary.run_id) == (1, None)


def test_another_configuration_is_refused_under_any_name(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", 1, samples=6)
    config = named(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", "night")
    start(config)
    other = Config.model_validate({**config.model_dump(), "input": {**config.input.model_dump(), "salvage": True}})
    with pytest.raises(ConfigError, match="another configuration"):
        start(other)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b"])
def test_names_are_names_of_files(name: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.id"):
        load_config(values={"run": {"id": name}})


def test_a_date_is_a_name() -> None:
    assert load_config(overrides=["run.id=2026-11-22"]).run.id == "2026-11-22"
