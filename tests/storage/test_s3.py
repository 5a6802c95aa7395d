"""What only S3 can do wrong: error answers, endpoints without conditions, clients that travel, credentials."""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Callable

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
)

from curator.errors import (
    ConfigError,
    CuratorError,
    ExistsError,
    ForbiddenError,
    NotFoundError,
    ReplacedError,
    RetryableError,
    ShardError,
)
from curator.storage import StorageOptions, open_storage, s3
from curator.storage.s3 import S3Storage
from curator.storage.s3_errors import verdict
from tests.faults.proxy import FaultyProxy
from tests.faults.s3_server import S3Server
from tests.storage.conftest import Place, options_for

MakePlace = Callable[..., Place]


def answered(status: int, code: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered(404, "NoSuchKey"), NotFoundError),
        (answered(404, "NoSuchBucket"), NotFoundError),
        (answered(404, "404"), NotFoundError),
        (answered(401, "Unauthorized"), ForbiddenError),
        (answered(403, "AccessDenied"), ForbiddenError),
        (answered(403, "InvalidAccessKeyId"), ForbiddenError),
        (answered(403, "SignatureDoesNotMatch"), ForbiddenError),
        (answered(403, "403"), ForbiddenError),
        (answered(400, "ExpiredToken"), RetryableError),
        (answered(412, "PreconditionFailed"), ReplacedError),
        (answered(412, "412"), ReplacedError),
        (answered(409, "ConditionalRequestConflict"), RetryableError),
        (answered(503, "SlowDown"), RetryableError),
        (answered(503, "503"), RetryableError),
        (answered(429, "TooManyRequests"), RetryableError),
        (answered(400, "RequestTimeout"), RetryableError),
        (answered(500, "InternalError"), RetryableError),
        (answered(502, ""), RetryableError),
        (answered(301, "PermanentRedirect"), ConfigError),
        (answered(400, "InvalidArgument"), ShardError),
        (EndpointConnectionError(endpoint_url="http://x"), RetryableError),
        (ConnectTimeoutError(endpoint_url="http://x"), RetryableError),
        (ReadTimeoutError(endpoint_url="http://x"), RetryableError),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), RetryableError),
        (ConnectionResetError(104, "reset"), RetryableError),
        (NoCredentialsError(), ConfigError),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_each_failure_has_its_verdict(error: Exception, expected: type[CuratorError]) -> None:
    found = verdict("s3://bucket/key", error)
    assert type(found) is expected
    assert "s3://bucket/key" in str(found)


def test_a_missing_bucket_is_named(make_s3: MakePlace) -> None:
    storage = make_s3().storage
    with pytest.raises(NotFoundError, match=r"no-such-bucket.*NoSuchBucket"):
        list(storage.list("s3://no-such-bucket/"))
    with pytest.raises(NotFoundError, match="no-such-bucket"):
        storage.write("s3://no-such-bucket/a", b"")


def test_listing_goes_page_by_page(make_s3: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 7)
    place = make_s3()
    urls = [place.storage.write(f"{place.base}{number:03d}", b"x").url for number in range(30)]
    pages = []
    backend = place.storage.backend(place.base)  # type: ignore[attr-defined]
    call = backend.call
    monkeypatch.setattr(backend, "call", lambda *given, **named: pages.append(1) or call(*given, **named))
    listing = place.storage.list(place.base)
    assert next(listing).url == urls[0]
    assert len(pages) == 1  # nothing is fetched before it is asked for
    assert [entry.url for entry in listing] == urls[1:]
    assert len(pages) == 5


def test_folders_of_a_console_are_no_objects(make_s3: MakePlace, s3_server: S3Server) -> None:
    place = make_s3()
    s3_server.client().put_object(Bucket=place.base.split("/")[2], Key="deep/in/folder/", Body=b"")
    assert list(place.storage.list(place.base)) == []


@pytest.mark.parametrize("conditions", ["keep", "ignore", "refuse"])
def test_the_probe_finds_out_what_the_endpoint_keeps(
    make_s3: MakePlace, s3_server: S3Server, conditions: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = make_s3()
    s3_server.layer.conditions = conditions  # type: ignore[assignment]
    try:
        kept = place.storage.check_conditional_writes(place.base)  # type: ignore[attr-defined]
        assert kept is (conditions == "keep")
        assert ("conditional writes unsupported" in caplog.text) is not kept
        assert list(place.storage.list(place.base)) == []
        # what was found travels to the workers, and the fallback keeps the contract where nobody races
        storage = pickle.loads(pickle.dumps(place.storage))
        assert storage.backend(place.base).conditional_writes is kept
        entry = storage.create(f"{place.base}lock", b"1")
        with pytest.raises(ExistsError):
            storage.create(f"{place.base}lock", b"2")
        changed = storage.replace(entry.url, b"3", etag=entry.etag)
        with pytest.raises(ReplacedError):
            storage.replace(entry.url, b"4", etag=entry.etag)
        assert storage.stat(entry.url) == changed
    finally:
        s3_server.layer.conditions = "keep"


def test_the_probe_lets_errors_of_access_through(make_s3: MakePlace) -> None:
    with pytest.raises(NotFoundError, match="no-such-bucket"):
        make_s3().storage.check_conditional_writes("s3://no-such-bucket/out/")  # type: ignore[attr-defined]


def test_local_and_memory_need_no_probe(tmp_path: object) -> None:
    assert open_storage().check_conditional_writes(f"{tmp_path}/") is True
    assert open_storage().check_conditional_writes("memory://space/") is True


def test_uploads_leave_no_parts_behind(make_s3: MakePlace, s3_server: S3Server) -> None:
    place = make_s3(part_bytes=5 * 1024 * 1024)
    bucket = place.base.split("/")[2]
    upload = place.storage.upload(f"{place.base}part")
    upload.write(bytes(12 * 1024 * 1024))
    assert s3_server.pending_uploads(bucket) == ["deep/in/part"]
    upload.abort()
    assert s3_server.pending_uploads(bucket) == []


def test_a_client_belongs_to_one_process(make_s3: MakePlace) -> None:
    place = make_s3()
    entry = place.storage.write(f"{place.base}a", b"content")
    backend = place.storage.backend(entry.url)  # type: ignore[attr-defined]
    assert backend._client is not None
    assert pickle.loads(pickle.dumps(backend))._client is None
    client, backend._pid = backend._client, -1  # as a forked child finds it
    assert backend.read(entry.url) == b"content"
    assert backend._client is not client
    assert backend._pid == os.getpid()


def test_threads_share_one_client(make_s3: MakePlace) -> None:
    place = make_s3()
    backend = place.storage.backend(place.base)  # type: ignore[attr-defined]
    clients: list[object] = []
    threads = [threading.Thread(target=lambda: clients.append(backend._connection(place.base))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 8
    assert len(set(map(id, clients))) == 1


def test_no_credentials_is_a_mistake_with_a_way_out(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3_server.public_object()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match=r"AWS_PROFILE.*anonymous"):
        S3Storage(options_for(s3_server.endpoint_url)).read(url)
    assert S3Storage(options_for(s3_server.endpoint_url, anonymous=True)).read(url) == b"open to all"


def test_an_unknown_profile_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="nobody"):
        S3Storage(StorageOptions(profile="nobody")).read("s3://bucket/a")


def test_what_goes_over_the_wire(
    s3_server: S3Server,
    make_proxy: Callable[..., FaultyProxy],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="curator")
    heads: list[bytes] = []
    proxy = make_proxy((s3_server.host, s3_server.port), lambda request: heads.append(request.head))
    storage = S3Storage(options_for(proxy.endpoint_url, requester_pays=True))
    base = f"s3://{s3_server.bucket()}/"
    entry = storage.create(f"{base}a", b"content")
    storage.open(entry.url, offset=2, etag=entry.etag).close()
    list(storage.list(base))
    storage.upload(f"{base}b").commit()
    storage.delete(entry.url)
    assert len(heads) == 5
    for head in map(bytes.lower, heads):
        assert b"x-amz-request-payer: requester" in head
        # checksums that botocore adds unasked break endpoints that speak an older S3
        assert b"x-amz-checksum" not in head
        assert b"x-amz-sdk-checksum" not in head
        assert b"aws-chunked" not in head
    assert b"if-none-match: *" in heads[0].lower()
    assert b"range: bytes=2-" in heads[1].lower()
    assert b"if-match: " in heads[1].lower()
    assert "test-secret" not in caplog.text + repr(storage.options) + str(pickle.dumps(storage))
