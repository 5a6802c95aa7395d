"""Urls as text, the allow-list, and what may be logged."""

from __future__ import annotations

import pickle

import pytest

from curator.errors import ConfigError
from curator.storage import StorageOptions, join, open_storage, redact
from curator.storage.urls import scheme_of


@pytest.mark.parametrize(
    ("base", "names", "expected"),
    [
        ("out", ("a",), "out/a"),
        ("out/", ("a", "b"), "out/a/b"),
        ("s3://bucket", ("_ledger", "run.json"), "s3://bucket/_ledger/run.json"),
        ("s3://bucket/p/", (), "s3://bucket/p/"),
        ("/", ("a",), "/a"),
    ],
)
def test_join(base: str, names: tuple[str, ...], expected: str) -> None:
    assert join(base, *names) == expected


@pytest.mark.parametrize(
    ("url", "scheme"),
    [("a/b", "file"), ("/a:b/c", "file"), ("file:///a", "file"), ("S3://b/k", "s3"), ("c:d", "file")],
)
def test_schemes(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme


@pytest.mark.parametrize("url", ["pipe:curl x", "PIPE:cat", "pipe://x", "simplecache::s3://b/k", "ftp://h/f", ""])
def test_what_is_not_allowed_is_named_and_never_opened(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage().read(url)
    assert "url" in str(caught.value)


def test_an_unknown_scheme_says_what_is_known_and_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"ftp://.*s3.*curator\[fsspec\]"):
        open_storage().stat("ftp://host/a.tar")
    with pytest.raises(ConfigError, match="s3:// urls are not allowed here; allowed schemes: file "):
        open_storage(StorageOptions(schemes=("file",))).stat("s3://bucket/key")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host:8/a?token=secret&x=1", "https://***@host:8/a?token=***&x=***"),
        ("https://host/a#secret", "https://host/a"),
        ("ftp://user:secret@host/a", "ftp://***@host/a"),
        ("s3://bucket/a?b=c", "s3://bucket/a?b=c"),
        ("az://container@account/a", "az://container@account/a"),
        ("out/a", "out/a"),
        ("simplecache::https://u:secret@h/?k=secret", "simplecache::https://***@h/?k=***"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attempts": 0}, "attempts"),
        ({"read_timeout_s": -1}, "read_timeout_s"),
        ({"read_ahead_parts": -1}, "read_ahead_parts"),
        ({"addressing_style": "dns"}, "addressing_style"),
        ({"endpoint_url": "minio:9000"}, "endpoint_url"),
        ({"endpoint_url": "https://key:secret@minio:9000"}, "user info"),
    ],
)
def test_options_are_checked_and_say_no_secret(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        StorageOptions(**changes)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_options_travel() -> None:
    options = StorageOptions(region="eu-west-1", anonymous=True)
    assert pickle.loads(pickle.dumps(options)) == options
