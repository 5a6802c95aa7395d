"""Every command in deploy/README.md that can run here is run, as it stands there; the others say why they are not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from curator.engine.ledger import Ledger
from curator.storage import open_storage
from tests.ops.conftest import README
from tests.ops.heads import Head
from tests.ops.readme import Block, blocks
from tests.ops.scraping import free_port
from tests.ops.settings import write_settings

ROOT = README.parents[1]
SECTIONS = ("Submit", "Elastic fleet", "Nightly", "Kubernetes", "Metrics", "Image", "Security", "Cost")
BLOCKS = [block for block in blocks(README) if block.section in SECTIONS]


def bash(text: str, environment: dict[str, str]) -> str:
    """What ``text`` prints when bash runs it in the checkout; each of its commands must succeed."""
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=ROOT,
        env={**environment, "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def in_section(section: str, *, slow: bool = False) -> list[Block]:
    return [block for block in BLOCKS if (block.section, block.slow, block.reason) == (section, slow, None)]


def test_every_block_is_run_or_says_why_not() -> None:
    assert {block.section for block in BLOCKS} == set(SECTIONS)
    for block in BLOCKS:
        assert block.info in ("sh", "sh slow") or len(block.reason or "") > 20, block
    text = README.read_text()
    for section in SECTIONS:
        body = re.split(r"^## ", text.split(f"\n## {section}\n")[1], flags=re.MULTILINE)[0]
        assert "\n    " not in re.sub(r"^```.*?^```$", "", body, flags=re.MULTILINE | re.DOTALL), "a command unfenced"


@pytest.fixture(scope="module")
def job(shards: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that the README's commands name: settings over four shards, and where the output goes."""
    folder = tmp_path_factory.mktemp("readme")
    config = write_settings(folder / "job.toml", shards, tiny_encoder_dir, output=None)
    return {"CURATOR_CONFIG": str(config), "CURATOR_OUTPUT": str(folder / "out")}


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_submit(head: Head, job: dict[str, str]) -> None:
    """The job needs the GPU of the second node."""
    submit, look = (block.text for block in in_section("Submit"))
    environment = {**head.environment, **job}
    said = bash(submit, environment)
    assert said.count("shard done url=") == 4
    assert "Job 'first' succeeded" in said
    said = bash(look, environment)
    assert '"status": "SUCCEEDED"' in said
    assert "complete: 4 shards done" in said


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_submit_and_stop_and_relabel(head: Head, job: dict[str, str]) -> None:
    """A stop is heard whatever the job is at."""
    bash("curator label --config $CURATOR_CONFIG --output $CURATOR_OUTPUT", {**os.environ, **job})
    stop, relabel = (block.text for block in in_section("Submit", slow=True))
    bash(stop, {**head.environment, **job})
    assert "complete: 4 shards done" in bash(relabel, {**head.environment, **job})


def test_elastic_fleet(job: dict[str, str]) -> None:
    (plan,) = (block.text for block in in_section("Elastic fleet"))
    assert "4 to do" in bash(plan, {**os.environ, **job, "CURATOR_OUTPUT": job["CURATOR_OUTPUT"] + "-elastic"})


def test_nightly(job: dict[str, str], tmp_path: Path) -> None:
    label, wait, cron = (block.text for block in in_section("Nightly"))
    today = tmp_path / "date"  # or midnight would come between two of the commands
    today.write_text('#!/bin/sh\nexec /bin/date -d 2026-11-22 "$@"\n')
    today.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    environment = {**os.environ, **job, "CURATOR_OUTPUT": job["CURATOR_OUTPUT"] + "-nightly", "PATH": path}
    assert "complete: 4 shards done" in bash(label, environment)
    waited = bash(wait, environment)
    assert waited.startswith("complete 20")
    assert "48 rows" in waited
    assert "nothing is done for it again" in bash(cron, environment)
    summary = Ledger(open_storage(), environment["CURATOR_OUTPUT"]).summary()
    assert summary is not None
    assert summary["run_id"] == "2026-11-22"


@pytest.mark.timeout(300)
def test_metrics(job: dict[str, str]) -> None:
    scrape, logged = (block.text for block in in_section("Metrics"))
    environment = {**os.environ, **job, "CURATOR_OUTPUT": job["CURATOR_OUTPUT"] + "-measured"}
    assert scrape.count("9464") == 2
    said = bash(scrape.replace("9464", str(free_port())), environment)  # another program of this machine may have it
    assert f'curator_planned_shards{{output="{environment["CURATOR_OUTPUT"]}"}} 4.0' in said
    assert "complete: 4 shards done" in said
    bash(logged, environment)
    lines = [json.loads(line) for line in Path(f"{environment['CURATOR_OUTPUT']}.jsonl").read_text().splitlines()]
    assert sum(line["message"].startswith("shard done") for line in lines) == 4


@pytest.mark.timeout(300)
def test_cost(job: dict[str, str]) -> None:
    (look,) = (block.text for block in in_section("Cost"))
    environment = {**os.environ, **job, "CURATOR_OUTPUT": job["CURATOR_OUTPUT"] + "-planned"}
    said = bash(look, environment)
    assert said.count("4 to do") == 2
    assert "hours with 4 workers" in said  # more would have nothing to do
    assert not Path(environment["CURATOR_OUTPUT"]).exists()
