"""Settings of small jobs as a file, for tests that start other processes. Knows no process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.run.jobs import job_config


def write_settings(path: Path, folder: Path, encoder: Path, *, output: Path | None, **ray: Any) -> Path:
    """A TOML file with the settings of ``job_config`` over the shards in ``folder``."""
    config = job_config(folder, encoder, output or "")
    asked = "\n".join(f"{name} = {value}" for name, value in ray.items())
    path.write_text(
        f"""
[input]
urls = ["{folder}"]
[output]
url = "{config.output.url}"
embedding_dtype = "float32"
[encoder]
name = "{config.encoder.name}"
precision = "float32"
device = "cpu"
batch_size = 8
cache_dir = "{config.encoder.cache_dir}"
[[labels]]
vocabulary = "{config.labels[0].vocabulary}"
top_k = 3
[run]
reject_budget = 0.5
grace_s = 20.0
heartbeat_s = 0.2
[ray]
{asked}
"""
    )
    return path
