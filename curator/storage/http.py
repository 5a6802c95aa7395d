"""Objects behind plain http and https, read-only, through urllib3 (which boto3 brings). Owns ranges; knows no listing.

A server that does not honour Range still serves: a stream that begins later skips what comes before, and says so; a
bounded part of the middle is refused, as each part would fetch the object from its beginning.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, LocationValueError

from curator.errors import (
    ConfigError,
    CuratorError,
    ForbiddenError,
    NotFoundError,
    ReplacedError,
    RetryableError,
    ShardError,
)
from curator.storage.backoff import Backoff
from curator.storage.base import Entry, ReadStream, Upload
from curator.storage.options import MIB, StorageOptions
from curator.storage.urls import redact

logger = logging.getLogger(__name__)
_TOTAL = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_REDIRECTS = 5
_VERDICTS: dict[int, type[CuratorError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    408: RetryableError,
    410: NotFoundError,
    412: ReplacedError,
    425: RetryableError,
    429: RetryableError,
}


class HttpStorage:
    """Urls as they are, user info (basic authentication) and query included; messages show neither."""

    def __init__(self, options: StorageOptions) -> None:
        self._options = options
        self._backoff = Backoff(options.attempts, options.backoff_s, options.backoff_cap_s)
        self._pool: urllib3.PoolManager | None = None
        self._forget()

    def __reduce__(self) -> tuple[Any, ...]:
        return HttpStorage, (self._options,)

    def list(self, prefix: str) -> Iterator[Entry]:
        raise ConfigError(f"{redact(prefix)}: http cannot list; name each shard, by braces or in a manifest file")

    def stat(self, url: str) -> Entry:
        return self._backoff.call(lambda: self._stat(url), redact(url))

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        """One try: ``resuming`` is what survives faults."""
        if length == 0:
            return _HttpStream(url, None, 0)
        headers = {}
        if offset or length is not None:
            headers["Range"] = f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"
        if etag is not None and etag.startswith('"'):
            headers["If-Match"] = etag
        answer = self._request("GET", url, headers)
        if answer.status == 416:
            answer.close()
            if etag is not None and self._stat(url).etag != etag:
                raise ReplacedError(f"{redact(url)}: is no longer {etag}; it was replaced while being read")
            return _HttpStream(url, None, 0)
        stream = _HttpStream(url, answer, length)
        try:
            found = _entry(url, answer)
            if etag is not None and found.etag != etag:
                raise ReplacedError(f"{redact(url)}: is no longer {etag}, but {found.etag}")
            if offset:
                self._begin_at(stream, answer, offset, length)
        except BaseException:
            stream.close()
            raise
        return stream

    def read(self, url: str) -> bytes:
        def attempt() -> bytes:
            stream = self.open(url)
            try:
                return stream.read()
            finally:
                stream.close()

        return self._backoff.call(attempt, redact(url))

    def write(self, url: str, data: bytes) -> Entry:
        _refuse(url)

    def create(self, url: str, data: bytes) -> Entry:
        _refuse(url)

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        _refuse(url)

    def upload(self, url: str) -> Upload:
        _refuse(url)

    def delete(self, url: str) -> None:
        _refuse(url)

    def _stat(self, url: str) -> Entry:
        try:
            answer = self._request("HEAD", url, {})
            answer.close()
            if answer.headers.get("Content-Length") is not None:
                return _entry(url, answer)
        except (ForbiddenError, ShardError) as error:
            if isinstance(error, NotFoundError):
                raise
        # a url signed for GET alone, or a server without HEAD
        answer = self._request("GET", url, {"Range": "bytes=0-0"})
        answer.close()
        return _entry(url, answer)

    def _begin_at(self, stream: _HttpStream, answer: urllib3.BaseHTTPResponse, offset: int, length: int | None) -> None:
        if answer.status == 206:
            said = _TOTAL.match(answer.headers.get("Content-Range", ""))
            if said is None or said[1] is None or int(said[1]) != offset:
                raise RetryableError(f"{redact(stream.url)}: asked for bytes from {offset} on, was given other ones")
            return
        if length is not None:
            raise ShardError(
                f"{redact(stream.url)}: the server does not honour Range, so that parts cannot be read in parallel; "
                "set read_ahead_parts=0"
            )
        logger.warning("server without Range url=%s: reading %d bytes again to skip them", redact(stream.url), offset)
        while offset > 0:
            skipped = stream.read(min(offset, MIB))
            if not skipped:
                return
            offset -= len(skipped)

    def _request(self, method: str, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        target, credentials = _without_user(url)
        try:
            answer = self._connections().request(
                method,
                target,
                headers={"Accept-Encoding": "identity", **credentials, **headers},
                preload_content=False,
                decode_content=False,
            )
        except (LocationParseError, LocationValueError) as error:
            raise ConfigError(f"{redact(url)}: not an http url") from error
        except (HTTPError, OSError) as error:
            # urllib3's messages may quote the url with its query: say the kind only
            raise RetryableError(f"{redact(url)}: {_why(error)}") from None
        if answer.status in (200, 206, 416):
            return answer
        answer.close()
        kind = _VERDICTS.get(answer.status) or (RetryableError if answer.status >= 500 else ShardError)
        raise kind(f"{redact(url)}: the server answered {answer.status} {answer.reason or ''}".rstrip())

    def _connections(self) -> urllib3.PoolManager:
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if self._pool is None:
                self._pool = urllib3.PoolManager(
                    maxsize=self._options.pool_connections,
                    timeout=urllib3.Timeout(self._options.connect_timeout_s, self._options.read_timeout_s),
                    retries=urllib3.Retry(
                        _REDIRECTS,
                        connect=0,
                        read=0,
                        status=0,
                        other=0,
                        redirect=_REDIRECTS,
                        raise_on_status=False,
                        respect_retry_after_header=False,
                    ),
                )
            return self._pool

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pool = None


class _HttpStream:
    """The body of one GET, cut at ``length`` where the server gave more; None is an empty body."""

    def __init__(self, url: str, answer: urllib3.BaseHTTPResponse | None, length: int | None) -> None:
        self.url = url
        self._answer = answer
        self._left = length

    def read(self, size: int = -1, /) -> bytes:
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        if self._answer is None or size == 0:
            return b""
        try:
            data = self._answer.read(None if size < 0 else size)
        except (HTTPError, OSError) as error:
            raise RetryableError(f"{redact(self.url)}: {_why(error)} in the body") from None
        if self._left is not None:
            self._left -= len(data)
        return data

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()


def _entry(url: str, answer: urllib3.BaseHTTPResponse) -> Entry:
    """Size and identity: a strong ETag with its quotes, else what there is (weak ETag, date) joined to the size."""
    headers = answer.headers
    ranged = _TOTAL.match(headers.get("Content-Range", "")) if answer.status in (206, 416) else None
    size = ranged[2] if ranged else headers.get("Content-Length")
    if size is None or not size.isdigit():
        raise ShardError(f"{redact(url)}: no Content-Length, so a cut could not be told; copy it to storage first")
    etag = headers.get("ETag", "")
    if not etag.startswith('"'):
        etag = f"{etag or headers.get('Last-Modified', '')}/{size}"
    return Entry(url, int(size), etag)


def _why(error: BaseException) -> str:
    """What went wrong in words that hold no url: a fault's own text may show the query, and signatures in it."""
    reason = getattr(error, "reason", None)
    fault = reason if isinstance(reason, BaseException) else error
    cause = fault.__cause__ or fault
    told = cause.strerror if isinstance(cause, OSError) else None
    return f"{type(fault).__name__} ({told})" if told else type(fault).__name__


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        return url, {}
    headers = urllib3.make_headers(basic_auth=unquote(user))
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": headers["authorization"]}


def _refuse(url: str) -> NoReturn:
    raise ConfigError(f"{redact(url)}: http is read-only here; write to a path or to s3://")
