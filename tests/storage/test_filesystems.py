"""What fsspec cannot promise, and what is refused because of it."""

from __future__ import annotations

import fsspec
import pytest

from curator.errors import ConfigError, ForbiddenError, NotFoundError, RetryableError, ShardError
from curator.storage import Router, StorageOptions, open_storage
from tests.storage.conftest import WholeObjects

QUICK = StorageOptions(attempts=2, backoff_s=0.001)


def storage_of(kind: type[WholeObjects], scheme: str = "gs") -> Router:
    fsspec.register_implementation(scheme, kind, clobber=True)
    return open_storage(QUICK)


def test_schemes_that_could_show_half_an_object_are_read_only() -> None:
    storage = storage_of(WholeObjects, "hf")
    for write in (
        storage.upload,
        storage.delete,
        lambda url: storage.write(url, b""),
        lambda url: storage.create(url, b""),
    ):
        with pytest.raises(ConfigError, match="hf:// is read-only"):
            write("hf://datasets/a/b")


def test_a_file_system_that_is_not_installed_says_what_to_install() -> None:
    options = StorageOptions(schemes=("nowhere",))
    with pytest.raises(ConfigError, match=r"pip install 'curator\[fsspec\]'"):
        open_storage(options).stat("nowhere://a/b")


def test_the_probe_says_that_locks_are_weak_and_refuses_what_creates_twice(caplog: pytest.LogCaptureFixture) -> None:
    class Careless(WholeObjects):
        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
            super().pipe_file(path, value, mode="overwrite", **options)

    storage = storage_of(WholeObjects)
    assert storage.check_conditional_writes("gs://bucket/probed/") is False
    assert "never start two drivers" in caplog.text
    assert list(storage.list("gs://bucket/probed/")) == []
    with pytest.raises(ConfigError, match="creates a name twice"):
        storage_of(Careless).check_conditional_writes("gs://bucket/careless/")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (FileNotFoundError("x"), NotFoundError),
        (PermissionError("x"), ForbiddenError),
        (TimeoutError("x"), RetryableError),
        (OSError("connection reset"), RetryableError),
    ],
)
def test_each_failure_has_its_verdict(error: Exception, verdict: type[Exception]) -> None:
    class Failing(WholeObjects):
        def info(self, path: str, **options: object) -> dict[str, object]:
            raise error

    with pytest.raises(verdict, match="gs://bucket/a"):
        storage_of(Failing).stat("gs://bucket/a")


def test_an_object_of_unknown_size_is_refused() -> None:
    class Sizeless(WholeObjects):
        def info(self, path: str, **options: object) -> dict[str, object]:
            return {"name": path, "type": "file", "size": None}

    with pytest.raises(ShardError, match="size"):
        storage_of(Sizeless).stat("gs://bucket/a")
