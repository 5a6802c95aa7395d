"""What every test of every room shares: the same environment and draws everywhere, no network, one tiny encoder."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# What the shell, the CI service or the cloud account that tests happen to run in may say, and a program would heed.
_FOREIGN_PREFIXES = ("AWS_", "CURATOR_", "HF_", "OPENAI_", "OTEL_", "RAY_")
_FOREIGN = {
    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY", "COLUMNS", "LINES", "TERMINAL_WIDTH", "NO_COLOR",
    "FORCE_COLOR", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "PYTHONWARNINGS", "SOURCE_DATE_EPOCH",
}  # fmt: skip
for _name in list(os.environ):
    if _name.upper().startswith(_FOREIGN_PREFIXES) or _name.upper() in _FOREIGN:
        del os.environ[_name]

# Read by torch, Arrow and Hugging Face when they are imported, so before any test module is.
_CACHE = tempfile.mkdtemp(prefix="curator-tests-")
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    ARROW_IO_THREADS="2",
    HF_HUB_OFFLINE="1",
    XDG_CACHE_HOME=_CACHE,
)

# Who is started in the background ignores SIGINT, and so would every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, however slow the machine: `pytest --hypothesis-profile=default` looks for others.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))


def pytest_runtest_setup() -> None:
    """What a test draws from the generators that all share, or traces, does not hang on the tests before it."""
    tracemalloc.stop()
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


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
    cluster = None
    for _ in range(2):
        with contextlib.suppress(Exception):  # Ray gives a node 30 s to start, which a busy machine may not have
            cluster = Cluster(initialize_head=True, head_node_args=head)
            break
    cluster = cluster or Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
