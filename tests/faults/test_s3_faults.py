"""S3 through a faulty network: the same bytes out, the same objects in, and an end to every silence."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from curator.errors import ExistsError, NotFoundError, ReplacedError, RetryableError
from curator.storage import Router, StorageOptions, open_storage, resuming
from curator.storage.backoff import Backoff
from tests.faults.proxy import KINDS, Fault, FaultyProxy, Kind, Plan, Script, SeededPlan
from tests.faults.s3_server import S3Server

MakeProxy = Callable[[tuple[str, int], Plan], FaultyProxy]
SILENCE_S = 0.4
PATIENCE_S = 30.0  # where the network is not silent: a busy machine answers late, and that is no fault to count
QUICK = Backoff(attempts=5, base_s=0.01, cap_s=0.05)
DATA = random.Random(5).randbytes(700_000)


def through(proxy: FaultyProxy, **changes: object) -> Router:
    waits = {
        "connect_timeout_s": 2.0,
        "read_timeout_s": PATIENCE_S,
        "attempts": 5,
        "backoff_s": 0.01,
        "backoff_cap_s": 0.05,
    }
    return open_storage(
        StorageOptions(endpoint_url=proxy.endpoint_url, addressing_style="path", **{**waits, **changes})  # type: ignore[arg-type]
    )


@pytest.fixture
def faulty(s3_server: S3Server, make_proxy: MakeProxy) -> Callable[[Plan], tuple[FaultyProxy, str]]:
    """A proxy by plan before the S3 server, and the url of a new bucket."""
    return lambda plan: (make_proxy((s3_server.host, s3_server.port), plan), f"s3://{s3_server.bucket()}/")


def timeout_for(kind: Kind) -> float:
    return SILENCE_S if kind == "silent" else PATIENCE_S


def is_get(request: object) -> bool:
    return getattr(request, "method", None) == "GET"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [0, 4])
def test_reading_gives_the_same_bytes(faulty: Callable[..., tuple[FaultyProxy, str]], kind: Kind, parts: int) -> None:
    script = Script(*[Fault(kind, byte=byte) for byte in (0, 1, 100_000)], wanted=is_get)
    proxy, base = faulty(script)
    storage = through(proxy, read_timeout_s=timeout_for(kind))
    entry = storage.write(f"{base}shard.tar", DATA)
    stream = resuming(storage, entry, backoff=QUICK, read_ahead_parts=parts, part_bytes=150_000)
    got = b"".join(iter(lambda: stream.read(65_536), b""))
    stream.close()
    assert got == DATA
    # a body that is late or only promises more needs no second request
    assert proxy.faults()[kind] == (3 if parts or kind not in ("delay", "too_long", "cut_request") else 1)


def test_a_silence_ends_by_the_read_timeout(faulty: Callable[..., tuple[FaultyProxy, str]]) -> None:
    proxy, base = faulty(Script(*[Fault("silent", byte=1000)] * 9, wanted=is_get))
    entry = through(proxy).write(f"{base}shard.tar", DATA)
    storage = through(proxy, attempts=2, read_timeout_s=SILENCE_S)
    begun = time.monotonic()
    with pytest.raises(RetryableError, match="silent for longer"):
        storage.open(entry.url).read()
    assert SILENCE_S <= time.monotonic() - begun < PATIENCE_S


def test_a_server_that_never_answers_ends_within_the_known_deadline(
    faulty: Callable[..., tuple[FaultyProxy, str]],
) -> None:
    proxy, base = faulty(lambda _: Fault("silent", byte=0))
    storage = through(proxy, attempts=3, read_timeout_s=SILENCE_S)
    begun = time.monotonic()
    with pytest.raises(RetryableError, match=r"shard\.tar"):
        storage.stat(f"{base}shard.tar")
    assert 3 * SILENCE_S <= time.monotonic() - begun < PATIENCE_S
    assert len(proxy.seen) == 3  # botocore adds no retries of its own


def test_a_dead_endpoint_is_retryable(faulty: Callable[..., tuple[FaultyProxy, str]]) -> None:
    proxy, base = faulty(lambda _: None)
    storage = through(proxy, attempts=2)
    proxy.close()
    with pytest.raises(RetryableError):
        storage.stat(f"{base}shard.tar")


@pytest.mark.parametrize("kind", ["slow_down", "reset", "silent", "lost_answer", "cut_request"])
def test_writing_survives(faulty: Callable[..., tuple[FaultyProxy, str]], s3_server: S3Server, kind: Kind) -> None:
    proxy, base = faulty(Script(*[Fault(kind, byte=0)] * 2))
    storage = through(proxy, read_timeout_s=timeout_for(kind))
    entry = storage.write(f"{base}a", DATA)
    assert proxy.faults()[kind] == 2
    assert storage.stat(f"{base}a") == entry
    assert storage.read(f"{base}a") == DATA


@pytest.mark.parametrize("kind", ["reset", "lost_answer", "slow_down", "silent"])
def test_creating_through_faults_is_creating_once(faulty: Callable[..., tuple[FaultyProxy, str]], kind: Kind) -> None:
    proxy, base = faulty(Script(Fault(kind, byte=0), Fault(kind, byte=0)))
    storage = through(proxy, read_timeout_s=timeout_for(kind))
    entry = storage.create(f"{base}receipt", b"mine")
    assert proxy.faults()[kind] == 2
    assert storage.stat(f"{base}receipt") == entry
    proxy.plan = Script(Fault(kind, byte=0))
    with pytest.raises(ExistsError):
        storage.create(f"{base}receipt", b"mine")
    proxy.plan = Script(Fault(kind, byte=0))
    changed = storage.replace(f"{base}receipt", b"new", etag=entry.etag)
    assert storage.stat(f"{base}receipt") == changed
    proxy.plan = Script(Fault(kind, byte=0))
    with pytest.raises(ReplacedError):
        storage.replace(f"{base}receipt", b"newer", etag=entry.etag)
    assert storage.read(f"{base}receipt") == b"new"


def test_a_multipart_upload_through_faults_is_whole(
    faulty: Callable[..., tuple[FaultyProxy, str]], s3_server: S3Server
) -> None:
    data = random.Random(6).randbytes(11 * 1024 * 1024)
    faults = [Fault("cut_request"), Fault("lost_answer"), None, Fault("reset", byte=0), Fault("slow_down"), None]
    proxy, base = faulty(Script(*faults, *[None, None], Fault("lost_answer")))
    storage = through(proxy, part_bytes=5 * 1024 * 1024)
    upload = storage.upload(f"{base}part")
    upload.write(data)
    entry = upload.commit()
    assert entry.size == len(data)
    assert storage.read(entry.url) == data
    assert storage.stat(entry.url) == entry


def test_a_completion_whose_answer_is_lost_is_a_completion(
    faulty: Callable[..., tuple[FaultyProxy, str]], s3_server: S3Server
) -> None:
    def completes(request: object) -> bool:
        return getattr(request, "method", "") == "POST" and "uploadId=" in getattr(request, "target", "")

    proxy, base = faulty(Script(Fault("lost_answer"), wanted=completes))
    storage = through(proxy)
    upload = storage.upload(f"{base}part")
    upload.write(bytes(17 * 1024 * 1024))
    entry = upload.commit()
    assert proxy.faults()["lost_answer"] == 1
    assert storage.stat(entry.url) == entry
    assert s3_server.pending_uploads(base[5:-1]) == []


def test_an_upload_that_fails_leaves_no_parts(
    faulty: Callable[..., tuple[FaultyProxy, str]], s3_server: S3Server
) -> None:
    proxy, base = faulty(lambda request: Fault("reset", byte=0) if "partNumber=2" in request.target else None)
    storage = through(proxy, attempts=2, part_bytes=5 * 1024 * 1024)
    upload = storage.upload(f"{base}part")
    with pytest.raises(RetryableError):
        upload.write(bytes(11 * 1024 * 1024))
    upload.abort()
    assert s3_server.pending_uploads(base[5:-1]) == []
    with pytest.raises(NotFoundError):
        storage.stat(f"{base}part")


def test_an_object_replaced_during_faults_is_no_mixture(faulty: Callable[..., tuple[FaultyProxy, str]]) -> None:
    proxy, base = faulty(Script(Fault("cut", byte=100_000), wanted=is_get))
    storage = through(proxy)
    entry = storage.write(f"{base}shard.tar", DATA)
    stream = resuming(storage, entry, backoff=QUICK)
    stream.read(1000)
    storage.write(entry.url, DATA[::-1])
    with pytest.raises(ReplacedError):
        stream.read()


def test_everything_at_once_under_a_seed(faulty: Callable[..., tuple[FaultyProxy, str]]) -> None:
    proxy, base = faulty(SeededPlan(seed=11, rate=0.3))
    storage = through(proxy, part_bytes=5 * 1024 * 1024, read_timeout_s=SILENCE_S)
    contents = {f"{base}{number:02d}": random.Random(number).randbytes(40_000 * number) for number in range(12)}
    for url, data in contents.items():
        storage.create(url, data)
    entries = list(storage.list(base))
    assert [(entry.url, entry.size) for entry in entries] == [(url, len(data)) for url, data in contents.items()]
    for entry in entries:
        stream = resuming(storage, entry, backoff=QUICK, read_ahead_parts=3, part_bytes=100_000)
        assert stream.read() == contents[entry.url]
        stream.close()
    assert len(proxy.faults()) >= 5


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_an_upload_whose_beginning_was_not_heard_of_is_not_left_behind(
    ending: str, faulty: Callable[..., tuple[FaultyProxy, str]], s3_server: S3Server
) -> None:
    def begins(request: object) -> bool:
        return getattr(request, "method", "") == "POST" and getattr(request, "target", "").endswith("?uploads")

    proxy, base = faulty(Script(Fault("lost_answer"), wanted=begins))
    upload = through(proxy).upload(f"{base}part")
    upload.write(bytes(17 * 1024 * 1024))
    assert proxy.faults()["lost_answer"] == 1
    assert len(s3_server.pending_uploads(base[5:-1])) == 2
    getattr(upload, ending)()
    assert s3_server.pending_uploads(base[5:-1]) == []
