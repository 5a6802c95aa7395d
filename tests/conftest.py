"""What every test of every room shares: few threads, a cache of its own, no network, and one tiny encoder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Read by torch, Arrow and Hugging Face when they are imported, so before any test module is.
_CACHE = tempfile.mkdtemp(prefix="curator-tests-")
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    ARROW_IO_THREADS="2",
    HF_HUB_OFFLINE="1",
    XDG_CACHE_HOME=_CACHE,
)


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for ``Encoder.open(f"local-dir:{...}")``: a seeded random CLIP, 32 px, 32 dimensions."""
    from tests.encoder.tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny-encoder"))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A real Ray of one node with four logical CPUs, shared by all tests marked ``ray``; a test may add other nodes."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 4, "resources": {"place": 1}, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
