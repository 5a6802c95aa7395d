"""The places that every storage test runs against."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from curator.storage import Storage, StorageOptions, open_storage
from tests.faults.proxy import make_proxy  # noqa: F401 - a fixture
from tests.faults.s3_server import S3Server, s3_server  # noqa: F401 - a fixture


@dataclass(frozen=True)
class Place:
    """A storage and an empty prefix in it, which ends in a slash."""

    kind: str
    storage: Storage
    base: str


def options_for(endpoint_url: str, **changes: object) -> StorageOptions:
    """Options with waits that suit a test."""
    waits = {"connect_timeout_s": 2.0, "read_timeout_s": 30.0, "attempts": 4, "backoff_s": 0.01, "backoff_cap_s": 0.05}
    return StorageOptions(endpoint_url=endpoint_url, addressing_style="path", **{**waits, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make_s3(s3_server: S3Server) -> Callable[..., Place]:  # noqa: F811
    """Places on the S3 server, with options changed as asked."""

    def make(**changes: object) -> Place:
        return Place(
            "s3", open_storage(options_for(s3_server.endpoint_url, **changes)), f"s3://{s3_server.bucket()}/deep/in/"
        )

    return make


class WholeObjects(MemoryFileSystem):
    """fsspec's memory made to behave like a bucket: an object appears whole, and a name is created once."""

    protocol = "gs"
    lock = threading.RLock()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
        with self.lock:
            super().pipe_file(path, value, mode=mode, **options)
            self.store[self._strip_protocol(path)].etag = uuid.uuid4().hex

    def put_file(self, lpath: str, rpath: str, **options: object) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def info(self, path: str, **options: object) -> dict[str, object]:
        with self.lock:
            return self._named(super().info(path, **options))

    def ls(self, path: str, detail: bool = True, **options: object) -> list[object]:
        with self.lock:
            return [self._named(info) for info in super().ls(path, detail=True, **options)]

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> bytes:
        with self.lock:
            self.info(path)
            return bytes(self.store[self._strip_protocol(path)].getvalue())

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("gs://")))

    def _named(self, info: dict[str, object]) -> dict[str, object]:
        stored = self.store.get(str(info["name"]))
        return {**info, "etag": stored.etag} if stored is not None else info


@pytest.fixture(params=["memory", "local", "file-url", "s3", "fsspec"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every kind of storage in turn."""
    if request.param == "memory":
        return Place("memory", open_storage(), f"memory://{tmp_path.name}-{id(request)}/in/")
    if request.param == "local":
        return Place("local", open_storage(), f"{tmp_path}/in/")
    if request.param == "file-url":
        return Place("file-url", open_storage(), f"file://{tmp_path}/in/")
    if request.param == "fsspec":
        fsspec.register_implementation("gs", WholeObjects, clobber=True)
        return Place("fsspec", open_storage(), f"gs://bucket-{uuid.uuid4().hex}/in/")
    make: Callable[..., Place] = request.getfixturevalue("make_s3")
    return make()
