"""Reading over http from servers of every temper."""

from __future__ import annotations

import base64
import pickle
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from curator.errors import (
    ConfigError,
    CuratorError,
    ForbiddenError,
    NotFoundError,
    ReplacedError,
    RetryableError,
    ShardError,
)
from curator.storage import StorageOptions, open_storage, resuming
from curator.storage.backoff import Backoff

DATA = random.Random(8).randbytes(50_000)
QUICK = Backoff(attempts=4, base_s=0.01, cap_s=0.02)


@dataclass
class Server:
    """What the server does. ``cut`` bytes of a body are sent where that is set."""

    ranges: bool = True
    head: bool = True
    etag: str | None = '"v1"'
    length: bool = True
    cut: int | None = None
    statuses: list[int] = field(default_factory=list)
    password: str | None = None
    data: bytes = DATA
    port: int = 0
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dir/shard.tar?token=secret"


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(b"" if server.head else None)

        def do_GET(self) -> None:
            if self.path == "/old":
                return self.say(302, {"Location": server.url})
            self.answer(server.data)

        def answer(self, body: bytes | None) -> None:
            server.requests.append((self.command, self.headers.get("Range")))
            assert self.headers["Accept-Encoding"] == "identity"
            if server.statuses:
                return self.say(server.statuses.pop(0), {"Retry-After": "60"})
            if server.password is not None:
                wanted = base64.b64encode(b"user:" + server.password.encode()).decode()
                if self.headers.get("Authorization") != f"Basic {wanted}":
                    return self.say(401, {})
            if body is None:
                return self.say(405, {})
            headers = {"ETag": server.etag} if server.etag else {"Last-Modified": "Sun, 22 Nov 2026 00:00:00 GMT"}
            condition = self.headers.get("If-Match")
            if condition is not None and condition != server.etag:
                return self.say(412, headers)
            size = len(server.data)
            wanted_range = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if server.ranges else None
            status = 200
            if wanted_range:
                first, last = int(wanted_range[1]), min(int(wanted_range[2] or size - 1), size - 1)
                if first >= size:
                    return self.say(416, {**headers, "Content-Range": f"bytes */{size}"})
                status, body = 206, body[first : last + 1]
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self.say(status, headers, body, None if self.command == "GET" else size)

        def say(self, status: int, headers: dict[str, str], body: bytes = b"", size: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if server.length:
                self.send_header("Content-Length", str(len(body) if size is None else size))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            sent = body if server.cut is None else body[: server.cut]
            self.wfile.write(sent)
            if len(sent) < len(body):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class QuietServer(ThreadingHTTPServer):
    """Clients that drop a body they no longer want are no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[ThreadingHTTPServer] = []

    def start(**how: object) -> Server:
        server = Server(**how)  # type: ignore[arg-type]
        http = QuietServer(("127.0.0.1", 0), handler(server))
        server.port = http.server_port
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        running.append(http)
        return server

    yield start
    for http in running:
        http.shutdown()
        http.server_close()


STORAGE = open_storage(StorageOptions(attempts=3, backoff_s=0.01, read_timeout_s=30.0))

TEMPERS = [
    {},
    {"ranges": False},
    {"head": False},
    {"head": False, "ranges": False},
    {"etag": 'W/"weak"'},
    {"etag": None},
]


@pytest.mark.parametrize("temper", TEMPERS, ids=str)
def test_every_range_on_every_server(serve: Callable[..., Server], temper: dict[str, object]) -> None:
    server = serve(**temper)
    entry = STORAGE.stat(server.url)
    assert entry.size == len(DATA)
    for offset in (0, 1, 40_000, 50_000, 60_000):
        stream = STORAGE.open(server.url, offset=offset, etag=entry.etag)
        assert b"".join(iter(lambda stream=stream: stream.read(7000), b"")) == DATA[offset:]  # type: ignore[misc]
        stream.close()
    stream = STORAGE.open(server.url, length=1000, etag=entry.etag)
    assert stream.read() == DATA[:1000]
    stream.close()
    assert STORAGE.read(server.url) == DATA
    resumed = resuming(STORAGE, entry, offset=30, backoff=QUICK)
    assert resumed.read() == DATA[30:]


def test_parts_in_parallel_need_a_server_with_ranges(serve: Callable[..., Server]) -> None:
    entry = STORAGE.stat(serve().url)
    assert resuming(STORAGE, entry, read_ahead_parts=3, part_bytes=7000).read() == DATA
    entry = STORAGE.stat(serve(ranges=False).url)
    stream = resuming(STORAGE, entry, read_ahead_parts=3, part_bytes=7000)
    with pytest.raises(ShardError, match="read_ahead_parts=0"):
        stream.read()


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"', None])
def test_an_object_that_changed_is_refused(serve: Callable[..., Server], etag: str | None) -> None:
    server = serve(etag=etag)
    entry = STORAGE.stat(server.url)
    server.etag = etag.replace("1", "2") if etag else None
    server.data = DATA + b"more"
    for offset in (0, 10, 60_000):
        with pytest.raises(ReplacedError):
            STORAGE.open(server.url, offset=offset, etag=entry.etag)


def test_a_cut_body_is_resumed(serve: Callable[..., Server]) -> None:
    server = serve(cut=20_000)
    entry = STORAGE.stat(server.url)
    assert resuming(STORAGE, entry, backoff=QUICK).read() == DATA
    starts = [wanted for method, wanted in server.requests if method == "GET"]
    assert starts[0] is None
    assert len(starts) == 3


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, ForbiddenError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (410, NotFoundError),
        (400, ShardError),
        (429, RetryableError),
        (500, RetryableError),
        (503, RetryableError),
    ],
)
def test_each_status_has_its_verdict(serve: Callable[..., Server], status: int, verdict: type[CuratorError]) -> None:
    server = serve(statuses=[status] * 9)
    with pytest.raises(verdict, match=str(status)) as caught:
        STORAGE.read(server.url)
    assert type(caught.value) is verdict
    assert "secret" not in str(caught.value)
    # tried again exactly where that can help, and never by urllib3 behind our back
    assert len(server.requests) == (3 if verdict is RetryableError else 1)


def test_throttling_that_passes_is_survived(serve: Callable[..., Server]) -> None:
    server = serve(statuses=[503, 429])
    assert STORAGE.stat(server.url).size == len(DATA)


def test_redirects_are_followed(serve: Callable[..., Server]) -> None:
    assert STORAGE.read(f"http://127.0.0.1:{serve().port}/old") == DATA


def test_user_info_is_sent_and_never_shown(serve: Callable[..., Server]) -> None:
    server = serve(password="pass:word")
    secret = server.url.replace("http://", "http://user:pass%3Aword@")
    assert STORAGE.read(secret) == DATA
    server.password = "another"
    with pytest.raises(ForbiddenError) as caught:
        STORAGE.stat(secret)
    assert "word" not in str(caught.value)


def test_without_a_length_a_cut_could_not_be_told(serve: Callable[..., Server]) -> None:
    with pytest.raises(ShardError, match="Content-Length"):
        STORAGE.stat(serve(length=False, ranges=False).url)
    assert STORAGE.stat(serve(length=False).url).size == len(DATA)  # Content-Range says it, too


def test_nobody_at_home_is_retryable_and_says_no_secret() -> None:
    with pytest.raises(RetryableError) as caught:
        STORAGE.stat("http://127.0.0.1:9/a?token=secret")
    assert str(caught.value).endswith("NewConnectionError (Connection refused)")
    assert "secret" not in str(caught.value)


def test_it_is_read_only() -> None:
    storage = pickle.loads(pickle.dumps(STORAGE))
    url = "http://127.0.0.1:9/a"
    for call in (
        lambda: storage.write(url, b""),
        lambda: storage.create(url, b""),
        lambda: storage.replace(url, b"", etag=""),
        lambda: storage.upload(url),
        lambda: storage.delete(url),
    ):
        with pytest.raises(ConfigError, match="read-only"):
            call()
    with pytest.raises(ConfigError, match="name each shard"):
        list(storage.list(url))
    assert storage.check_conditional_writes(url) is False
