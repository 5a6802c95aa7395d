"""A Ray that is not there is a ConfigError within seconds, where Ray itself would try for minutes."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from curator.engine.backends.ray_connect import connect
from curator.errors import ConfigError

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("known_by", ["config", "environment", "note"])
def test_a_cluster_that_is_gone(known_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # another test's Ray may run in this process
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    if known_by == "environment":
        monkeypatch.setenv("RAY_ADDRESS", address)
    if known_by == "note":
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=f"no Ray answers at {address}"):
        connect(address if known_by == "config" else None)
    assert time.monotonic() - begun < 60
