"""A TCP proxy before an HTTP server that misbehaves by plan: the faulty network of the tests.

Owns sockets and faults; knows nothing of Curator or of S3 but the answer that says "slow down".
"""

from __future__ import annotations

import collections
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import pytest

Kind: TypeAlias = Literal[
    "delay",  # the answer comes late
    "slow_down",  # 503 SlowDown instead of an answer
    "cut",  # the body ends early, the connection is closed
    "reset",  # the body ends early, by RST
    "silent",  # the body stops, and nothing follows until the client gives up
    "too_long",  # Content-Length promises more than comes
    "too_short",  # Content-Length promises less than comes
    "lost_answer",  # the server does what was asked, and nobody hears of it
    "cut_request",  # the request's own body reaches the server by half
]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_IDLE_S = 30.0


@dataclass(frozen=True)
class Fault:
    """``fraction`` of the body passes before the fault, or ``byte`` bytes where that is given."""

    kind: Kind
    fraction: float = 0.5
    byte: int | None = None
    delay_s: float = 0.05

    def point(self, length: int) -> int:
        return min(length, self.byte) if self.byte is not None else int(length * self.fraction)


@dataclass(frozen=True)
class Request:
    """The head of a request as it came. ``length`` is that of its body."""

    method: str
    target: str
    head: bytes
    length: int


Plan: TypeAlias = Callable[[Request], "Fault | None"]


class SeededPlan:
    """Faults drawn from a seed, for each request by itself, so that threads and timing change nothing.

    ``rate`` of the requests fail, but never more than ``in_a_row`` in succession for one method and target.
    """

    def __init__(self, seed: int, rate: float, kinds: tuple[Kind, ...] = KINDS, in_a_row: int = 2) -> None:
        self._seed = seed
        self._rate = rate
        self._kinds = kinds
        self._in_a_row = in_a_row
        self._count: collections.Counter[tuple[str, str]] = collections.Counter()
        self._streak: collections.Counter[tuple[str, str]] = collections.Counter()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Fault | None:
        # the host and the bucket differ from run to run; the object does not
        key = (request.method, request.target.partition("?")[0].rpartition("/")[2])
        with self._lock:
            self._count[key] += 1
            draw = random.Random(f"{self._seed}/{key}/{self._count[key]}")
            if self._streak[key] >= self._in_a_row or draw.random() >= self._rate:
                self._streak[key] = 0
                return None
            self._streak[key] += 1
        return Fault(draw.choice(self._kinds), fraction=draw.random())


class Script:
    """The given faults, one for each request that ``wanted`` accepts, then none."""

    def __init__(self, *faults: Fault | None, wanted: Callable[[Request], bool] = lambda _: True) -> None:
        self._faults = iter(faults)
        self._wanted = wanted
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Fault | None:
        with self._lock:
            return next(self._faults, None) if self._wanted(request) else None


class FaultyProxy:
    """Listens on loopback from construction to ``close``. ``seen`` holds (method, target, kind of fault or None)."""

    def __init__(self, upstream: tuple[str, int], plan: Plan) -> None:
        self.plan = plan
        self.seen: list[tuple[str, str, Kind | None]] = []
        self._upstream = upstream
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy-accept", daemon=True).start()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def faults(self) -> collections.Counter[str]:
        """How often each kind of fault was played."""
        return collections.Counter(kind for _, _, kind in self.seen if kind is not None)

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or the thread in accept() would keep it open
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="proxy-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(_IDLE_S)
        with client:
            try:
                while self._exchange(client):
                    pass
            except OSError:
                return

    def _exchange(self, client: socket.socket) -> bool:
        """Relay one request and its answer; whether the client's connection can carry another."""
        head, body = _read_head(client)
        if not head:
            return False
        request = _parse(head)
        fault = self.plan(request)
        self.seen.append((request.method, request.target, fault.kind if fault else None))
        if b"\r\nexpect: 100-continue" in head.lower():
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault and fault.kind == "cut_request" and request.length:
            body += _read_exactly(client, fault.point(request.length) - len(body))
            with socket.create_connection(self._upstream, _IDLE_S) as server:
                server.sendall(_for_server(head) + body)
            return _reset(client)
        body += _read_exactly(client, request.length - len(body))
        if fault and fault.kind == "slow_down":
            status = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
            client.sendall(status % len(_SLOW_DOWN) + (b"" if request.method == "HEAD" else _SLOW_DOWN))
            return True
        with socket.create_connection(self._upstream, _IDLE_S) as server:
            server.sendall(_for_server(head) + body)
            return self._answer(client, server, request, fault)

    def _answer(self, client: socket.socket, server: socket.socket, request: Request, fault: Fault | None) -> bool:
        head, body = _read_head(server)
        length = 0 if request.method == "HEAD" else _length(head)
        body += _read_exactly(server, length - len(body))
        kind = fault.kind if fault else None
        if fault is None or kind in ("delay", "cut_request"):
            if fault is not None:
                time.sleep(fault.delay_s)
            client.sendall(head + body)
            return True
        if kind == "lost_answer":
            return _reset(client)
        passed = fault.point(length)
        if kind in ("too_long", "too_short") and length:
            client.sendall(_with_length(head, length + 1000 if kind == "too_long" else passed) + body)
            return kind == "too_short"
        client.sendall(head + body[:passed] if kind == "cut" or passed else b"")
        if kind == "reset":
            time.sleep(0.01)  # what was sent before a reset is lost with it, unless it has been taken
            return _reset(client)
        if kind == "silent":
            client.settimeout(0.05)
            while not self._closing.is_set():
                try:
                    if not client.recv(1):
                        break
                except TimeoutError:
                    continue
        return False


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """(head up to and with its empty line, what came after it); (b"", b"") where the peer has closed."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return b"", b""
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = connection.recv(min(size, 1 << 20))
        if not piece:
            raise ConnectionError("the peer closed within a body")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _parse(head: bytes) -> Request:
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    return Request(method, target, head, _length(head))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _for_server(head: bytes) -> bytes:
    """The head without Expect (the proxy has answered it), asking for one answer per connection."""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"expect:", b"connection:"))]
    return b"\r\n".join([lines[0], b"Connection: close", *lines[1:]])


def _with_length(head: bytes, length: int) -> bytes:
    lines = head.split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([kept[0], b"Content-Length: %d" % length, *kept[1:]])


def _reset(client: socket.socket) -> bool:
    """Close by RST: a linger of zero seconds drops what is unsent."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    return False


@pytest.fixture
def make_proxy() -> Iterator[Callable[[tuple[str, int], Plan], FaultyProxy]]:
    """Proxies that are closed with the test. Import it into a conftest to use it."""
    proxies: list[FaultyProxy] = []

    def make(upstream: tuple[str, int], plan: Plan) -> FaultyProxy:
        proxies.append(FaultyProxy(upstream, plan))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()
