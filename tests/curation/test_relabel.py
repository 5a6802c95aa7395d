"""Relabelling: the rows of a run with other labels, from its Parquet alone, done exactly once and resumable."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.config import Config
from curator.engine.driver import Progress
from curator.engine.fleet import LeaseDone
from curator.engine.ledger import Ledger
from curator.engine.maintain import retry, verify_output
from curator.errors import ConfigError
from curator.storage import Router, StorageOptions, open_storage
from tests.curation.jobs import KINDS, make_source, relabel_config, run, scores, table
from tests.encoder.tiny import save_tiny
from tests.run.crashing import Crash, CrashingStorage


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_dir: Path) -> Config:
    """A finished run over three shards, embeddings in float32."""
    return make_source(tmp_path_factory.mktemp("relabel"), tiny_encoder_dir)


def test_same_label_set_gives_the_same_rows(source: Config, tmp_path: Path) -> None:
    config = relabel_config(source, tmp_path / "out", *(each.model_dump() for each in source.labels))
    summary = run(config)
    assert summary.status == "complete"
    before, after = table(source.output.url), table(tmp_path / "out")
    assert before.schema.equals(after.schema)
    assert before.num_rows == after.num_rows == 24
    for name in before.schema.names:
        if name != "labels":
            assert after[name].to_pylist() == before[name].to_pylist(), name
    assert ids(after) == ids(before)
    # Stored exactly, embeddings give the same scores but for the order in which a batch of another size adds up.
    np.testing.assert_allclose(scores(after), scores(before), rtol=1e-6)


def test_the_config_of_the_labelling_run_serves_as_it_is(source: Config, tmp_path: Path) -> None:
    """Its inputs are those of the other run, and leave out no part of this one."""
    config = relabel_config(source, tmp_path / "out")
    shared = config.model_copy(update={"input": config.input.model_copy(update={"urls": source.input.urls})})
    assert run(shared).shards["done"] == 3


def test_what_the_outputs_storage_keeps_to_is_asked_and_recorded(source: Config, tmp_path: Path) -> None:
    class Careless(Router):
        def check_conditional_writes(self, url: str) -> bool:
            return False

    config = relabel_config(source, tmp_path / "out")
    assert run(config, storage=Careless(StorageOptions())).status == "complete"
    recorded = Ledger(open_storage(), str(tmp_path / "out")).run()
    assert recorded is not None
    assert recorded["settings"]["storage"]["conditional_writes"] is False


def ids(found: pa.Table) -> list[list[str] | None]:
    return [None if row is None else [label["label_id"] for label in row] for row in found["labels"].to_pylist()]


def test_float16_embeddings_give_the_same_labels(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    source = make_source(tmp_path, tiny_encoder_dir, output={"url": str(tmp_path / "source")})
    run(relabel_config(source, tmp_path / "out", *(each.model_dump() for each in source.labels)))
    before, after = table(source.output.url), table(tmp_path / "out")
    assert before.schema.field("embedding").type.value_type == pa.float16()
    assert after["embedding"].to_pylist() == before["embedding"].to_pylist()
    assert len(scores(before)) == 18 * 3
    np.testing.assert_allclose(scores(after), scores(before), atol=2e-3)


def test_a_set_is_added_and_rejects_stay_rejects(source: Config, tmp_path: Path) -> None:
    summary = run(relabel_config(source, tmp_path / "out"))
    assert summary.totals["reasons"] == {"no_image": 3, "truncated_image": 3}
    before, after = table(source.output.url), table(tmp_path / "out")
    assert after.schema.names == [*before.schema.names, "kinds", "kinds_abstained"]
    assert after.drop_columns(["kinds", "kinds_abstained"]).to_pylist() == before.to_pylist()
    for row in after.to_pylist():
        if row["status"] == "ok":
            assert len(row["kinds"]) == 2
            assert {each["label"] for each in row["kinds"]} <= set(KINDS)
        else:
            assert row["kinds"] is row["kinds_abstained"] is None
    assert not any(problems for _, problems in verify_output(str(tmp_path / "out"), open_storage()))
    next((tmp_path / "out").glob("part-*.parquet")).unlink()
    ((_, told),) = [problems for _, problems in verify_output(str(tmp_path / "out"), open_storage()) if problems]
    assert (
        f"run `curator relabel {source.output.url}` again with the settings that wrote {tmp_path}/out, a relab" in told
    )


def test_provenance_of_the_source_is_carried(source: Config, tmp_path: Path) -> None:
    run(relabel_config(source, tmp_path / "one"))
    again = source.model_copy(update={"output": source.output.model_copy(update={"url": str(tmp_path / "one")})})
    run(
        relabel_config(
            again, tmp_path / "two", {"name": "labels", "vocabulary": source.labels[0].vocabulary, "top_k": 1}
        )
    )
    first = sorted(Path(source.output.url).glob("part-*"))[0]
    old, new = (
        {key.decode(): value.decode() for key, value in (pq.read_metadata(folder / first.name).metadata or {}).items()}
        for folder in (first.parent, tmp_path / "two")
    )
    assert old["curator.preprocess"] == new["curator.preprocess"]
    assert new["curator.source"] == str(tmp_path / "one")
    assert new["curator.source_config_digest"] != old["curator.config_digest"] != new["curator.config_digest"]
    assert "curator.head_digest.kinds" in new
    assert new["curator.head_digest.labels"] != old["curator.head_digest.labels"]
    names = pq.read_schema(tmp_path / "two" / first.name).names
    assert names[-4:] == ["kinds", "kinds_abstained", "labels", "labels_abstained"]


def test_stopped_and_resumed_and_then_nothing_to_do(source: Config, tmp_path: Path) -> None:
    config = relabel_config(source, tmp_path / "out", in_flight=1)
    stop = threading.Event()

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone):
            stop.set()

    summary = run(config, observe=observe, stop=stop)
    assert (summary.status, 0 < summary.shards["done"] < 3) == ("stopped", True)
    assert run(config).status == "complete"
    assert run(config).this_run["shards"] == 0
    with pytest.raises(ConfigError, match="begun with another configuration"):
        run(relabel_config(source, tmp_path / "out", {**config.labels[0].model_dump(), "top_k": 1}))


def test_of_a_run_that_has_not_ended_it_is_said_that_its_parts_so_far_are_read(
    source: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(source.output.url, tmp_path / "whole")
    shutil.copytree(source.output.url, tmp_path / "begun")
    next((tmp_path / "begun" / "_ledger" / "receipts").iterdir()).unlink()
    (tmp_path / "begun" / "_ledger" / "summary.json").unlink()
    for name, shards in (("whole", 3), ("begun", 2)):
        of_copy = source.model_copy(update={"output": source.output.model_copy(update={"url": str(tmp_path / name)})})
        caplog.clear()
        assert run(relabel_config(of_copy, tmp_path / f"{name}-again")).shards["done"] == shards
        assert ("not all of this run is there (interrupted" in caplog.text) == (name == "begun")


def test_a_part_that_changed_is_done_again_and_one_that_vanished_is_quarantined(
    tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    source = make_source(tmp_path, tiny_encoder_dir)
    config = relabel_config(source, tmp_path / "out")
    assert run(config).this_run["shards"] == 3
    parts = sorted((tmp_path / "source").glob("part-*"))
    kept = parts[1].read_bytes()
    parts[1].unlink()
    parts[2].write_bytes(parts[2].read_bytes()[:-50] + b"0" * 50)
    summary = run(config)
    assert (summary.status, summary.exit_status, len(summary.quarantined)) == ("over_budget", 1, 1)
    assert "not readable as Parquet" in summary.quarantined[0]["reason"]
    assert table(tmp_path / "out").num_rows == 24, "the rows of before stay until there are others"
    parts[1].write_bytes(kept)
    fresh = relabel_config(source, tmp_path / "fresh")
    parts[2].unlink()
    lost = run(fresh)
    assert (lost.shards["done"], len(lost.quarantined)) == (2, 1)
    letter = next(iter(Ledger(open_storage(), str(tmp_path / "fresh")).quarantined().values()))
    assert parts[2].name in letter["reason"]


def test_quarantined_parts_are_tried_again(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    source = make_source(tmp_path, tiny_encoder_dir)
    part = sorted((tmp_path / "source").glob("part-*"))[1]
    whole = part.read_bytes()
    part.write_bytes(whole[:-20])
    assert run(relabel_config(source, tmp_path / "out")).status == "over_budget"
    part.write_bytes(whole)

    def start(config: Config, **options: Any):
        assert len(config.input.urls) == 1
        return run(config, **options)

    assert retry(str(tmp_path / "out"), open_storage(), start=start).status == "complete"
    assert table(tmp_path / "out").num_rows == 24


def test_what_cannot_begin_says_why(source: Config, tmp_path: Path) -> None:
    def changed(**sections: Any) -> Config:
        return Config.model_validate({**relabel_config(source, tmp_path / "out").model_dump(), **sections})

    with pytest.raises(ConfigError, match="relabelled in place"):
        run(changed(output={"url": source.output.url + "/"}))
    with pytest.raises(ConfigError, match="no run has begun"):
        run(changed(input={"run": str(tmp_path)}))
    with pytest.raises(ConfigError, match="no run to relabel"):
        run(changed(input={}))
    with pytest.raises(ConfigError, match="no label set"):
        run(changed(labels=[]))
    other = save_tiny(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match="its embeddings were made by an encoder with the digest"):
        run(changed(encoder={"name": f"local-dir:{other}", "precision": "float32"}))
    assert not (tmp_path / "out" / "_ledger" / "run.json").exists()


def test_resume_after_a_crash_at_every_operation(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    source = make_source(tmp_path, tiny_encoder_dir)

    def config(name: str) -> Config:
        return relabel_config(source, tmp_path / name, attempts=1, in_flight=1)

    whole = CrashingStorage(open_storage())
    run(config("whole"), whole)
    expected = table(tmp_path / "whole")
    assert {"create", "upload.commit", "upload.write", "write"} <= set(whole.operations)
    crashed = 0
    for at in range(0, len(whole.operations), 4):
        for before in (True, False):
            settings = config(f"{at}-{before}")
            try:
                run(settings, CrashingStorage(open_storage(), at, before=before))
            except Crash:
                crashed += 1
            _bury(Path(settings.output.url) / "_ledger" / "lock.json")
            assert run(settings).status == "complete", (at, before)
            assert table(settings.output.url).equals(expected), (at, before)
            assert len(list(Path(settings.output.url).glob("part-*"))) == 3
    assert crashed > 8


def _bury(lock: Path) -> None:
    """The dead run's lock names a process that is no more."""
    if lock.exists():
        gone = subprocess.Popen(["true"])
        gone.wait()
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"pid": gone.pid}))
