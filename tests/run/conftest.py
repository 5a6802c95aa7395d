"""Fixtures of the main job: shards on disk, and the rows of an undisturbed run over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.engine.run import label
from tests.faults.proxy import make_proxy
from tests.faults.s3_server import s3_server
from tests.run.jobs import Row, job_config, local_fleet, read_rows, write_shards

__all__ = ["make_proxy", "s3_server"]


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four shards of twelve samples."""
    folder = tmp_path_factory.mktemp("input") / "shards"
    write_shards(folder, 4)
    return folder


@pytest.fixture(scope="session")
def undisturbed(shards: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """The rows that every disturbed run must give, too."""
    config = job_config(shards, tiny_encoder_dir, tmp_path_factory.mktemp("undisturbed") / "out")
    summary = label(config, fleet=local_fleet(config))
    assert summary.status == "complete"
    return read_rows(config.output.url)
