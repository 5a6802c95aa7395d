"""What every test of every room shares: few threads, a cache of its own, no network, and one tiny encoder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
def ray_cluster() -> Iterator[None]:
    """A real Ray on this machine with eight logical CPUs, for every test that is marked ``ray``."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
