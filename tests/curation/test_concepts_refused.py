"""Requests to count that a run or an output does not fit: each is refused with what there is instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from curator.curation.concepts import Request
from curator.errors import ConfigError
from tests.curation.made_runs import make_run, random_rows
from tests.curation.test_concepts import count


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", [random_rows(20, seed) for seed in range(2)])


def test_requests_that_do_not_fit_the_run(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("dog\n!!!\n")
    good = tmp_path / "good.txt"
    good.write_text("dog\n")
    for request, message in [
        (Request(columns=("caption",)), "no column 'caption' with entries to count; there are things, entries"),
        (Request(concepts=str(good), images="entries"), "no labels in a column 'entries'; there are things"),
        (Request(concepts=str(other)), "'!!!' has no word"),
        (Request(concepts=str(tmp_path / "none.txt")), "does not exist"),
        (Request(plot=True), "name them by --concepts"),
    ]:
        with pytest.raises(ConfigError, match=message):
            count(run, tmp_path / "out", request)
    with pytest.raises(ConfigError, match="no run has begun"):
        count(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="choose another output"):
        count(run, run)
    count(run, tmp_path / "out", Request(concepts=str(good)))
    differences = (
        r"--concepts was '1 concepts \(\w{16}\)', is '6 concepts \(\w{16}\)'; --count was '', is 'entries, things'"
    )
    with pytest.raises(ConfigError, match=rf"begun with another configuration \(config_digest differ: {differences}\)"):
        count(run, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"\(config_digest differ: --images was 'things', is None\)"):
        count(run, tmp_path / "out", Request(concepts=str(good), images=""))
    assert count(run, tmp_path / "out", Request(concepts=str(good), images="things")).summary.status == "complete"
    other = shutil.copytree(run, tmp_path / "other")
    with pytest.raises(ConfigError, match="is a run's output"):
        count(run, other)
    described = json.loads((other / "_ledger" / "run.json").read_text())
    described["digests"]["config_digest"] = "of another run"
    (other / "_ledger" / "run.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match=r"out: holds the counts of another run than .*other; choose a new output$"):
        count(other, tmp_path / "out")


def test_counts_of_an_older_curator_go_on_and_are_refused_without_a_guess(run: Path, tmp_path: Path) -> None:
    """Such an output recorded one digest of all options."""
    whole = count(run, tmp_path / "out", Request(concepts="things"))
    recorded = tmp_path / "out" / "_counts" / "_ledger" / "run.json"
    described = json.loads(recorded.read_text())
    source = {name: described["config"][name] for name in ("format", "source")}
    described["config"] = {**source, "counting": "0123456789abcdef"}
    recorded.write_text(json.dumps(described))
    again = count(run, tmp_path / "out", Request(concepts="things"))
    assert (again.summary.status, again.totals, again.summary.this_run["shards"]) == ("complete", whole.totals, 0)
    with pytest.raises(ConfigError, match=r"\(config_digest differ: counting says something else\)"):
        count(run, tmp_path / "out", Request(concepts="things", images=""))
