"""`curator plan`: what it says is what the run then does, an estimate holds it, and nothing is written for either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.engine.estimate import Prices, estimate
from curator.engine.ledger import Ledger
from curator.engine.preview import preview_label
from curator.engine.run import label
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.builders import make_samples, write_tar
from tests.run.jobs import LABELS, job_config, local_fleet, write_shards


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def plan(*arguments: object) -> Any:
    found = CliRunner().invoke(app, ["plan", "--json", *map(str, arguments)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(LABELS))
    return path


def options(tmp_path: Path, encoder: Path, vocabulary: Path) -> list[object]:
    return [
        "--input", tmp_path / "in", "--output", tmp_path / "out", "--vocabulary", vocabulary,
        "--set", f"encoder.name=local-dir:{encoder}", "--set", "encoder.precision=float32",
    ]  # fmt: skip


def test_the_plan_names_urls_and_what_a_run_would_be_refused_for(
    tmp_path: Path, tiny_encoder_dir: Path, vocabulary: Path
) -> None:
    write_shards(tmp_path / "in", 3)
    (tmp_path / "in" / "9999.tar").write_bytes(b"this is no tar" * 100)
    given = options(tmp_path, tiny_encoder_dir, vocabulary)
    before = plan(*given)
    assert [Path(shard["url"]).name for shard in before["todo"]] == ["0000.tar", "0001.tar", "0002.tar", "9999.tar"]
    assert not (tmp_path / "out").exists()
    ran = CliRunner().invoke(app, ["label", *map(str, given), "--set", "run.reject_budget=0.5"])
    assert ran.exit_code == 1, ran.output  # the damaged shard is quarantined
    (tmp_path / "in" / "0000.tar").unlink()
    write_tar(tmp_path / "in" / "0001.tar", make_samples(3, seed=5))
    made = files(tmp_path / "out")
    after = plan(*given)
    assert [Path(shard["url"]).name for shard in after["todo"]] == ["0001.tar"]
    for name, shard in (("changed", "0001.tar"), ("vanished", "0000.tar"), ("quarantined", "9999.tar")):
        assert after[name] == [str(tmp_path / "in" / shard)], name
    assert (after["done"], after["refused"]) == (1, None)
    assert "'method': 'caption_stats'" in plan(*given, "--score", "caption_stats")["refused"]
    vocabulary.write_text("cat\ndog\n")
    assert "begun with another configuration" in plan(*given)["refused"]
    again = plan("--run", tmp_path / "out", "--output", tmp_path / "other", "--vocabulary", vocabulary)
    assert sorted(Path(shard["url"]).name for shard in again["todo"]) == ["0000.tar", "0001.tar", "0002.tar"]
    assert all(shard["size"] for shard in again["todo"])
    assert files(tmp_path / "out") == made
    assert not (tmp_path / "other").exists()


def test_an_estimate_holds_what_the_run_then_finds(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    for number in range(14):
        write_tar(tmp_path / "in" / f"{number:04d}.tar", make_samples(4 + number % 7, seed=100 * number))
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out", reject_budget=0.5)
    todo, storage = preview_label(config).plan.todo, open_storage()
    forecast = estimate(config, todo, storage, sample=8, workers=4, prices=Prices(3.0, 0.5))
    assert not (tmp_path / "out").exists()
    assert list(storage.list("memory://curator-estimate/")) == []
    assert 8 <= forecast.sampled <= 9
    assert (forecast.shards, forecast.failed, forecast.workers) == (14, 0, 4)
    summary = label(config, fleet=local_fleet(config))
    totals = summary.totals
    for found, truth in ((forecast.images, totals["rows"]), (forecast.written_bytes, totals["part_bytes"])):
        assert found.low * 0.9 <= truth <= found.high * 1.1
        assert found.low <= found.value <= found.high
    assert forecast.read_bytes == totals["read_bytes"]
    assert forecast.gpu_hours.value == 0  # the tests have no GPU
    hours = forecast.worker_hours
    assert 0 < hours.low <= hours.value <= hours.high < 0.1
    assert forecast.hours.value >= forecast.startup_s / 3600
    assert forecast.cost is not None
    stored = forecast.written_bytes.value / 2**30
    assert forecast.cost.value == pytest.approx(3.0 * hours.value + 0.5 * stored)
    with pytest.raises(ConfigError, match="nothing is left"):
        estimate(config, preview_label(config).plan.todo, storage)


def test_damaged_shards_of_the_sample_say_nothing(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "in", 3)
    (tmp_path / "in" / "9999.tar").write_bytes(b"this is no tar" * 100)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out")
    forecast = estimate(config, preview_label(config).plan.todo, open_storage(), sample=9)
    assert (forecast.sampled, forecast.failed) == (4, 1)
    assert 36 <= forecast.images.value <= 37  # the damaged one might hold as much for its size as the others


def test_the_command_prints_an_estimate(tmp_path: Path, tiny_encoder_dir: Path, vocabulary: Path) -> None:
    write_shards(tmp_path / "in", 2)
    given = [*options(tmp_path, tiny_encoder_dir, vocabulary), "--estimate", "--workers", 2, "--price-worker-hour", 1]
    found = CliRunner().invoke(app, ["plan", *map(str, given)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    for word in ("images", "hours with 2 workers", "GPU-hours", "cost", "95 % interval"):
        assert word in found.stdout
    described = plan(*given, "--sample", 1)["estimate"]
    assert described["shards"] == 2
    assert described["images"]["value"] == pytest.approx(24, rel=0.5)
    assert not (tmp_path / "out").exists()


def test_actors_need_a_place_that_they_reach(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "in", 1)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out", backend="ray")
    with pytest.raises(ConfigError, match="--scratch"):
        estimate(config, preview_label(config).plan.todo, open_storage())
    assert Ledger(open_storage(), config.output.url).run() is None


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_an_estimate_by_actors_leaves_its_scratch_empty(
    tmp_path: Path, tiny_encoder_dir: Path, ray_cluster: Any
) -> None:
    write_shards(tmp_path / "in", 3)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out", backend="ray")
    todo = preview_label(config).plan.todo
    forecast = estimate(config, todo, open_storage(), sample=2, scratch=str(tmp_path / "scratch"))
    assert forecast.images.value == pytest.approx(36, rel=0.5)
    assert files(tmp_path / "scratch") == {}
    assert not (tmp_path / "out").exists()
