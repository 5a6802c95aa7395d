"""The main job on the local backend: every sample accounted for, resumable, incremental."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from curator.config import Config
from curator.engine.fleet import LeaseDone
from curator.engine.ledger import Ledger
from curator.engine.maintain import read_status, retry, verify_output
from curator.engine.preview import preview_label
from curator.engine.progress import Progress
from curator.engine.run import label
from curator.errors import ConfigError
from curator.storage import open_storage
from tests.builders import make_samples, write_tar
from tests.run.jobs import Row, assert_same_rows, job_config, local_fleet, read_rows, write_shards


def changed(config: Config, **sections: dict[str, object]) -> Config:
    """The config with some settings of some sections replaced."""
    tree = config.model_dump()
    for section, settings in sections.items():
        tree[section] |= settings
    return Config.model_validate(tree)


def run(config: Config, **options: object):
    return label(config, fleet=local_fleet(config), **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of eight samples that a test may change."""
    write_shards(tmp_path / "shards", 3, samples=8)
    return tmp_path / "shards"


def test_every_sample_is_a_row(shards: Path, undisturbed: dict[str, Row]) -> None:
    rows = list(undisturbed.values())
    assert len(rows) == 4 * 12
    rejected = sorted(row.reason for row in rows if row.status == "rejected")
    assert rejected == ["no_image"] * 4 + ["truncated_image"] * 4
    for row in rows:
        assert (row.embedding is None) == (row.status == "rejected")
        assert len(row.labels) == (0 if row.status == "rejected" else 3)


def test_verify_passes_a_sound_output_and_names_what_is_spoilt(
    folder: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    assert run(config).status == "complete"
    storage = open_storage()
    assert [problems for _, problems in verify_output(config.output.url, storage)] == [[], [], []]
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    shutil.copy(parts[0], parts[1])
    parts[2].write_bytes(parts[2].read_bytes()[:-100])
    shutil.copy(parts[0], tmp_path / "out" / f"part-{'0' * 16}.parquet")
    found = [problem for _, problems in verify_output(config.output.url, storage) for problem in problems]
    assert any("sample_id" in problem or "shard" in problem for problem in found)
    assert any(str(parts[2]) in problem for problem in found)
    assert any("without a receipt" in problem for problem in found)


def test_verify_says_how_to_make_a_part_anew(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    run(config)
    storage = open_storage()
    lost, cut, _ = sorted((tmp_path / "out").glob("part-*.parquet"))
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-100])
    faulty = [problems for _, problems in verify_output(config.output.url, storage) if problems]
    assert faulty[0][0] == f"{lost}: is missing"
    for _, told in faulty:
        found = re.search(r"delete its receipt (\S+\.json) and run `curator label` again with the settings", told)
        assert found, told
        Path(found[1]).unlink()
    assert run(config).this_run["shards"] == len(faulty) == 2
    assert not any(problems for _, problems in verify_output(config.output.url, storage))


def test_second_run_does_nothing(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    first = run(config)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    second = run(config)
    assert (second.status, second.this_run["shards"]) == ("complete", 0)
    assert second.totals == first.totals
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")} == before


def test_stopped_half_way_and_resumed(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    config = job_config(shards, tiny_encoder_dir, tmp_path / "out", in_flight=1)
    stop = threading.Event()

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone):
            stop.set()

    summary = run(config, observe=observe, stop=stop)
    assert (summary.status, summary.exit_status) == ("stopped", 1)
    assert "resume" in summary.message
    assert 0 < summary.shards["done"] < 4
    assert json.loads((tmp_path / "out" / "_ledger" / "summary.json").read_text())["status"] == "stopped"
    assert run(config).status == "complete"
    assert_same_rows(read_rows(config.output.url), undisturbed)
    assert json.loads((tmp_path / "out" / "_ledger" / "summary.json").read_text())["status"] == "complete"


def test_another_configuration_is_refused_with_its_differences(
    folder: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    run(config)
    with pytest.raises(ConfigError, match=r"exif_orientation was False, is True"):
        run(changed(config, decode={"exif_orientation": True}))
    (tmp_path / "labels.txt").write_text("other\nlabels\n")
    with pytest.raises(ConfigError, match="begun with another configuration"):
        run(config)


def test_nights_over_a_growing_folder(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    run(config)
    write_tar(folder / "0003.tar", make_samples(5, seed=77))
    write_tar(folder / "0001.tar", make_samples(9, seed=78))
    (folder / "0000.tar").unlink()
    plan = preview_label(config).plan
    assert sorted(shard.url for shard in plan.todo) == [str(folder / "0001.tar"), str(folder / "0003.tar")]
    assert (len(plan.stale), len(plan.vanished), plan.done) == (1, 1, 1)
    summary = run(config)
    assert summary.this_run["rows"] == 14
    assert summary.totals["rows"] == 8 + 9 + 8 + 5
    assert len(list((tmp_path / "out" / "_ledger" / "receipts").iterdir())) == 4
    pruned = run(changed(config, run={"prune": True}))
    assert pruned.totals["rows"] == 9 + 8 + 5
    assert len(read_rows(config.output.url)) == 22
    assert [problems for _, problems in verify_output(config.output.url, open_storage())] == [[], [], []]


def test_part_of_the_shards(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    assert run(changed(config, input={"max_shards": 1})).this_run["shards"] == 1
    assert run(changed(config, input={"since": "0001.tar"})).this_run["shards"] == 1
    assert run(config).this_run["shards"] == 1


def test_a_time_window_stops_cleanly(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out", max_seconds=1e-6)
    summary = run(config)
    assert summary.status == "stopped"
    assert "time window" in summary.message
    assert run(job_config(folder, tiny_encoder_dir, tmp_path / "out")).status == "complete"


def test_a_cut_shard_is_quarantined_and_the_rest_done(
    folder: Path, tiny_encoder_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shard = folder / "0001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    summary = run(config)
    assert (summary.status, summary.exit_status) == ("over_budget", 1)
    letter = next(iter(Ledger(open_storage(), config.output.url).quarantined().values()))
    assert letter["url"] == str(shard)
    assert "byte" in letter["reason"]
    assert len(letter["attempts"]) == 1
    assert summary.totals["rows"] == 16
    again = run(config)
    assert (again.this_run["shards"], again.exit_status) == (0, 1)

    shard.write_bytes(whole)
    caplog.clear()
    assert retry(config.output.url, open_storage()).status == "complete"
    assert "no longer in the input" not in caplog.text
    assert len(read_rows(config.output.url)) == 24


def test_salvage_keeps_what_precedes_the_cut_and_says_so(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    shard = folder / "0001.tar"
    shard.write_bytes(shard.read_bytes()[:-9000])
    config = changed(job_config(folder, tiny_encoder_dir, tmp_path / "out"), input={"salvage": True})
    summary = run(config)
    assert summary.status == "complete"
    assert summary.totals["salvaged"] == 1
    receipts = {receipt.url: receipt for receipt in Ledger(open_storage(), config.output.url).receipts()}
    salvaged = receipts[str(shard)]
    assert 0 < salvaged.rows < 8
    assert salvaged.salvaged
    assert "byte" in salvaged.salvaged


def test_budgets_decide_the_exit_status(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    strict = job_config(folder, tiny_encoder_dir, tmp_path / "out", reject_budget=0.1)
    summary = run(strict)
    assert (summary.status, summary.exit_status) == ("over_budget", 1)
    assert "6 of 24 samples are rejected" in summary.message
    loose = job_config(folder, tiny_encoder_dir, tmp_path / "out", reject_budget=0.25)
    assert run(loose).exit_status == 0


def test_retry_by_reason_redoes_only_those_shards(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    write_tar(folder / "0002.tar", make_samples(8, seed=3))
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    run(config)
    summary = retry(config.output.url, open_storage(), reasons=["truncated_image"])
    assert summary.this_run["shards"] == 2
    assert summary.totals["rows"] == 24
    with pytest.raises(ConfigError, match="no sample is rejected for 'decode_timeout'; there are no_image, trunc"):
        retry(config.output.url, open_storage(), reasons=["decode_timeout"])
    with pytest.raises(ConfigError, match="nothing is quarantined"):
        retry(config.output.url, open_storage())


def test_a_second_driver_is_refused(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone):
            with pytest.raises(ConfigError, match=rf"another driver .*pid {os.getpid()}"):
                run(config)

    assert run(config, observe=observe).status == "complete"
    assert not (tmp_path / "out" / "_ledger" / "lock.json").exists()


def test_status_is_the_sum_of_the_receipts(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    summary = run(config)
    status = read_status(config.output.url, open_storage())
    assert status.totals == summary.totals
    assert status.totals["reasons"] == {"no_image": 3, "truncated_image": 3}
    with pytest.raises(ConfigError, match="no run has begun here"):
        read_status(str(tmp_path / "elsewhere"), open_storage())


def test_no_label_set_still_embeds(folder: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    config = changed(job_config(folder, tiny_encoder_dir, tmp_path / "out"))
    config = Config.model_validate({**config.model_dump(), "labels": []})
    assert run(config).status == "complete"


def test_the_contents_of_label_files_count_and_not_where_they_lie(
    folder: Path, tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    config = job_config(folder, tiny_encoder_dir, tmp_path / "out")
    run(config)
    moved = tmp_path / "elsewhere.txt"
    (tmp_path / "labels.txt").rename(moved)
    tree = config.model_dump(mode="json")
    tree["labels"][0]["vocabulary"] = str(moved)
    assert run(Config.model_validate(tree)).this_run["shards"] == 0
    moved.write_text("something\nelse\n")
    with pytest.raises(ConfigError, match=r"labels\.0\.vocabulary says something else than \S+labels\.txt did"):
        run(Config.model_validate(tree))
    tree["labels"][0] |= {"vocabulary": str(moved), "options": {"scale": 10.0}}
    with pytest.raises(ConfigError, match=r"labels\.0\.options"):
        run(Config.model_validate(tree))
