"""Storage on S3 and what speaks its protocol, through boto3. Owns the client and its requests; knows no shard.

botocore's own retries are off (one try per request): every retry is Curator's, in one place, with a known deadline.
Credentials come from boto3's chain alone and are neither kept, pickled nor logged.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

from curator.errors import ConfigError, ReplacedError, RetryableError
from curator.storage.backoff import Backoff
from curator.storage.base import Entry, ReadStream, Upload
from curator.storage.options import StorageOptions
from curator.storage.s3_errors import FAILURES, PastTheEndError, verdict
from curator.storage.s3_writes import S3Upload, S3Writes, entry_of

_PAGE = 1000


class S3Storage:
    """Objects by ``s3://bucket/key``; the key is taken as it is, not decoded.

    ``conditional_writes`` says whether ``create`` and ``replace`` are the endpoint's own atomic operations, or the
    fallback of storage/s3_writes.py. One client per process and instance, made on first use, never pickled or forked.
    """

    def __init__(self, options: StorageOptions, *, conditional_writes: bool | None = None) -> None:
        self.options = options
        self.conditional_writes = options.conditional_writes if conditional_writes is None else conditional_writes
        self.backoff = Backoff(options.attempts, options.backoff_s, options.backoff_cap_s)
        self._writes = S3Writes(self)
        self._client: Any = None
        self._forget()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.options, self.conditional_writes)

    def list(self, prefix: str) -> Iterator[Entry]:
        bucket, start = _split(prefix)
        last = ""
        token: dict[str, str] = {}
        while True:
            page = self.call(prefix, "list_objects_v2", Bucket=bucket, Prefix=start, MaxKeys=_PAGE, **token)
            for found in page.get("Contents", ()):
                key = found["Key"]
                if key.encode() < last.encode():
                    raise ConfigError(
                        f"{prefix}: this endpoint lists {key!r} after {last!r}; only ordered listing will do"
                    )
                last = key
                if not (key.endswith("/") and found["Size"] == 0):  # a console's "folder" is no object
                    yield Entry(f"s3://{bucket}/{key}", found["Size"], found["ETag"].strip('"'))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def stat(self, url: str) -> Entry:
        return entry_of(url, self.head(url))

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        """One try: ``resuming`` is what survives faults."""
        wanted = dict(self.address(url))
        if offset or length is not None:
            wanted["Range"] = f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"
        if etag is not None:
            wanted["IfMatch"] = f'"{etag}"'
        if length == 0:
            return _S3Stream(url, None)
        try:
            answer = self.request(url, "get_object", **wanted)
        except PastTheEndError:
            if etag is not None and self.stat(url).etag != etag:
                raise ReplacedError(f"{url}: is no longer {etag}; it was replaced while being read") from None
            return _S3Stream(url, None)
        if "Range" in wanted and not str(answer.get("ContentRange", "")).startswith(f"bytes {offset}-"):
            answer["Body"].close()
            raise RetryableError(f"{url}: asked for bytes from {offset} on, the endpoint gave other ones")
        return _S3Stream(url, answer["Body"])

    def read(self, url: str) -> bytes:
        return self.backoff.call(lambda: self._read_once(url), url)

    def _read_once(self, url: str) -> bytes:
        # a range, because its answer says how long the object is, whatever Content-Length says of the body
        try:
            answer = self.request(url, "get_object", **self.address(url), Range="bytes=0-")
        except PastTheEndError:
            return b""
        stream = _S3Stream(url, answer["Body"])
        try:
            data = stream.read()
        finally:
            stream.close()
        total = str(answer.get("ContentRange", "")).rpartition("/")[2]
        if total.isdigit() and int(total) != len(data):
            raise RetryableError(f"{url}: the body ended at byte {len(data)} of {total}")
        return data

    def write(self, url: str, data: bytes) -> Entry:
        return self._writes.put(url, data)

    def create(self, url: str, data: bytes) -> Entry:
        return self._writes.create(url, data)

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        return self._writes.replace(url, data, etag=etag)

    def upload(self, url: str) -> Upload:
        return S3Upload(self, url)

    def delete(self, url: str) -> None:
        self.call(url, "delete_object", **self.address(url))

    def check_conditional_writes(self, url_prefix: str) -> bool:
        """Find out, by probe objects below ``url_prefix``, whether the endpoint keeps to conditions; see S3Writes."""
        self.conditional_writes = self._writes.probe(url_prefix)
        return self.conditional_writes

    def head(self, url: str) -> dict[str, Any]:
        return self.call(url, "head_object", **self.address(url))

    def address(self, url: str) -> dict[str, str]:
        """Bucket and Key of an object's url. ConfigError where it names none."""
        bucket, key = _split(url)
        if not key:
            raise ConfigError(f"{url}: names no object; give s3://bucket/key")
        return {"Bucket": bucket, "Key": key}

    def call(self, url: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """A request, tried ``options.attempts`` times."""
        return self.backoff.call(lambda: self.request(url, operation, **arguments), url)

    def request(self, url: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """A request, tried once, with its failures as verdicts."""
        if self.options.requester_pays:
            arguments["RequestPayer"] = "requester"
        try:
            answer: dict[str, Any] = getattr(self._connection(url), operation)(**arguments)
            return answer
        except FAILURES as error:
            raise verdict(url, error) from error

    def _connection(self, url: str) -> Any:
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if self._client is None:
                self._client = _connect(self.options)
            return self._client

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._client = None


def _rebuild(options: StorageOptions, conditional_writes: bool) -> S3Storage:
    return S3Storage(options, conditional_writes=conditional_writes)


class _S3Stream:
    """The body of one GET; None is the empty body of a range past the end."""

    def __init__(self, url: str, body: Any) -> None:
        self._url = url
        self._body = body

    def read(self, size: int = -1, /) -> bytes:
        if self._body is None or size == 0:
            return b""
        try:
            data: bytes = self._body.read() if size < 0 else self._body.read(size)
            return data
        except FAILURES as error:
            raise verdict(self._url, error) from error

    def close(self) -> None:
        if self._body is not None:
            self._body.close()


def _split(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not bucket:
        raise ConfigError(f"{url}: names no bucket; give s3://bucket/key")
    return bucket, key


def _connect(options: StorageOptions) -> Any:
    """A boto3 client that tries each request once, within the timeouts, and asks for checksums only where S3 must."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        region_name=options.region,
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        max_pool_connections=options.pool_connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": options.addressing_style},
        # what botocore adds of its own accord since 1.36 breaks endpoints that speak an older S3
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
    )
    if options.anonymous:
        config = config.merge(Config(signature_version=UNSIGNED))
    try:
        session = boto3.session.Session(profile_name=options.profile, region_name=options.region)
        # S3-compatible endpoints have no regions, yet a signature needs one
        region = session.region_name or ("us-east-1" if options.endpoint_url or options.anonymous else None)
        return session.client("s3", endpoint_url=options.endpoint_url, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"storage: no S3 client ({error}); check profile, region and endpoint_url") from error
