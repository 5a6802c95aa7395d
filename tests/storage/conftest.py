"""The places that every storage test runs against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from curator.storage import Storage, StorageOptions, open_storage
from tests.faults.s3_server import S3Server, s3_server  # noqa: F401 - a fixture


@dataclass(frozen=True)
class Place:
    """A storage and an empty prefix in it, which ends in a slash."""

    kind: str
    storage: Storage
    base: str


def options_for(endpoint_url: str, **changes: object) -> StorageOptions:
    """Options with waits that suit a test."""
    waits = {"connect_timeout_s": 2.0, "read_timeout_s": 5.0, "attempts": 4, "backoff_s": 0.01, "backoff_cap_s": 0.05}
    return StorageOptions(endpoint_url=endpoint_url, addressing_style="path", **{**waits, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make_s3(s3_server: S3Server) -> Callable[..., Place]:  # noqa: F811
    """Places on the S3 server, with options changed as asked."""

    def make(**changes: object) -> Place:
        return Place(
            "s3", open_storage(options_for(s3_server.endpoint_url, **changes)), f"s3://{s3_server.bucket()}/deep/in/"
        )

    return make


@pytest.fixture(params=["memory", "local", "file-url", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every kind of storage in turn."""
    if request.param == "memory":
        return Place("memory", open_storage(), f"memory://{tmp_path.name}-{id(request)}/in/")
    if request.param == "local":
        return Place("local", open_storage(), f"{tmp_path}/in/")
    if request.param == "file-url":
        return Place("file-url", open_storage(), f"file://{tmp_path}/in/")
    make: Callable[..., Place] = request.getfixturevalue("make_s3")
    return make()
