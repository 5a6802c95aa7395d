"""Writing to S3: one PUT or a multipart upload, exclusive creation, compare-and-swap. Owns no client and reads nothing.

Every object carries a random mark in its metadata (``curator-write``), so that a request whose answer was lost and
which is refused when sent again can be told from one that lost to another writer.

Fallback where the endpoint knows no conditional PUT (``conditional_writes`` is False): look, write, look whose mark
stands. Two writers whose steps interleave just so can then both believe to have won: parts and receipts stay correct,
as attempts of a shard write the same rows, but the lock of an output no longer keeps out every second driver.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, Protocol

from curator.errors import ConfigError, CuratorError, ExistsError, NotFoundError, ReplacedError
from curator.storage.backoff import Backoff
from curator.storage.base import Entry
from curator.storage.options import StorageOptions
from curator.storage.s3_errors import is_unknown_condition
from curator.storage.urls import join

logger = logging.getLogger(__name__)
_MARK = "curator-write"
_MIN_PART_BYTES = 5 * 1024 * 1024  # S3's own bound for every part but the last
_MAX_PARTS = 10_000


class Requests(Protocol):
    """What writing needs of the S3 storage: its requests, tried again on faults and with failures as verdicts."""

    options: StorageOptions
    backoff: Backoff
    conditional_writes: bool

    def request(self, url: str, operation: str, **arguments: Any) -> dict[str, Any]: ...

    def stat(self, url: str) -> Entry: ...

    def delete(self, url: str) -> None: ...

    def head(self, url: str) -> dict[str, Any]: ...

    def address(self, url: str) -> dict[str, str]: ...

    def call(self, url: str, operation: str, **arguments: Any) -> dict[str, Any]: ...


def entry_of(url: str, head: dict[str, Any]) -> Entry:
    """The Entry that a HEAD's answer describes."""
    return Entry(url, head["ContentLength"], head["ETag"].strip('"'))


class S3Writes:
    """Small objects: plain, exclusive and compare-and-swap PUTs."""

    def __init__(self, storage: Requests) -> None:
        self._storage = storage

    def put(self, url: str, data: bytes, mark: str | None = None, **condition: str) -> Entry:
        """One PUT, tried again on faults. Raises ReplacedError where ``condition`` does not hold."""
        answer = self._storage.call(
            url,
            "put_object",
            **self._storage.address(url),
            Body=data,
            Metadata={_MARK: mark or uuid.uuid4().hex},
            **condition,
        )
        return Entry(url, len(data), answer["ETag"].strip('"'))

    def create(self, url: str, data: bytes) -> Entry:
        taken = ExistsError(f"{url}: exists already")
        if not self._storage.conditional_writes:
            try:
                self._storage.head(url)
            except NotFoundError:
                return self._put_and_look(url, data, taken)
            raise taken
        return self._put_if(url, data, taken, IfNoneMatch="*")

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        gone = ReplacedError(f"{url}: is no longer {etag}")
        if not self._storage.conditional_writes:
            if self._storage.stat(url).etag != etag:
                raise gone
            return self._put_and_look(url, data, gone)
        return self._put_if(url, data, gone, IfMatch=f'"{etag}"')

    def probe(self, url_prefix: str) -> bool:
        """Whether the endpoint keeps to If-None-Match and If-Match on PUT, tried on an object that is removed again.

        Logs what is weaker where it does not. Errors of access pass through as verdicts.
        """
        url = join(url_prefix, f"_curator-probe-{uuid.uuid4().hex}")
        try:
            kept = self._keeps_conditions(url)
        except CuratorError as error:
            if not is_unknown_condition(error.__cause__ if isinstance(error.__cause__, Exception) else None):
                raise
            kept = False
        finally:
            self._storage.delete(url)
        if not kept:
            logger.warning(
                "conditional writes unsupported url=%s: creating and locking are look-then-write; "
                "never start two drivers on this output",
                url_prefix,
            )
        return kept

    def _keeps_conditions(self, url: str) -> bool:
        refused = ReplacedError(f"{url}: refused")
        first = self._put_if(url, b"1", refused, IfNoneMatch="*")
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"00000000000000000000000000000000"'}):
            try:
                self.put(url, b"2", **condition)
            except ReplacedError:
                continue
            return False
        try:
            self._put_if(url, b"3", refused, IfMatch=f'"{first.etag}"')
        except ReplacedError:
            return False
        return True

    def _put_if(self, url: str, data: bytes, refused: CuratorError, **condition: str) -> Entry:
        mark = uuid.uuid4().hex
        try:
            return self.put(url, data, mark, **condition)
        except ReplacedError as error:
            entry = marked(self._storage, url, mark)
            if entry is None:
                raise refused from error
            return entry

    def _put_and_look(self, url: str, data: bytes, refused: CuratorError) -> Entry:
        mark = uuid.uuid4().hex
        self.put(url, data, mark)
        entry = marked(self._storage, url, mark)
        if entry is None:
            raise refused
        return entry


def marked(storage: Requests, url: str, mark: str) -> Entry | None:
    """The object at ``url`` if it is the one that was written with ``mark``."""
    try:
        head = storage.head(url)
    except NotFoundError:
        return None
    return entry_of(url, head) if head.get("Metadata", {}).get(_MARK) == mark else None


class S3Upload:
    """An object of any size: one PUT if it is smaller than a part, else a multipart upload whose parts go as they fill.

    A write or commit that fails aborts the upload, so that no parts are left to be paid for; nor is an upload whose
    beginning was asked for again because the answer was lost: nobody knows its id, so it is looked for at the end.
    """

    def __init__(self, storage: Requests, url: str) -> None:
        self._storage = storage
        self._url = url
        self._address = storage.address(url)
        self._part_bytes = max(storage.options.part_bytes, _MIN_PART_BYTES)
        self._mark = uuid.uuid4().hex
        self._buffer = bytearray()
        self._size = 0
        self._upload_id: str | None = None
        self._begun = 0
        self._parts: list[dict[str, Any]] = []
        self._open = True

    def write(self, data: bytes, /) -> int:
        self._must_be_open()
        self._buffer += data
        try:
            while len(self._buffer) >= self._part_bytes:
                self._send_part(bytes(memoryview(self._buffer)[: self._part_bytes]))
                del self._buffer[: self._part_bytes]
        except BaseException:
            self.abort()
            raise
        return len(data)

    def commit(self) -> Entry:
        self._must_be_open()
        try:
            if self._upload_id is None:
                entry = S3Writes(self._storage).put(self._url, bytes(self._buffer), self._mark)
            else:
                if self._buffer:
                    self._send_part(bytes(self._buffer))
                entry = self._complete()
        except BaseException:
            self.abort()
            raise
        upload_id = self._upload_id
        self._finish()
        self._sweep(upload_id)
        return entry

    def abort(self) -> None:
        upload_id = self._upload_id
        self._finish()
        if upload_id is not None:
            self._abandon(upload_id)
        self._sweep(upload_id)
        self._begun = 0

    def _abandon(self, upload_id: str) -> None:
        try:
            self._storage.call(self._url, "abort_multipart_upload", **self._address, UploadId=upload_id)
        except NotFoundError:
            return
        except CuratorError as error:
            # called while another error is on its way up: that one matters more
            logger.warning(
                "multipart upload left behind url=%s upload_id=%s error=%s: a lifecycle rule "
                "(AbortIncompleteMultipartUpload) on the bucket removes it",
                self._url,
                upload_id,
                error,
            )

    def _send_part(self, data: bytes) -> None:
        if self._upload_id is None:
            self._upload_id = self._storage.backoff.call(self._begin, self._url)
        number = len(self._parts) + 1
        if number > _MAX_PARTS:
            raise ConfigError(f"{self._url}: more than {_MAX_PARTS} parts; raise part_bytes above {self._part_bytes}")
        answer = self._storage.call(
            self._url, "upload_part", **self._address, UploadId=self._upload_id, PartNumber=number, Body=data
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._size += len(data)

    def _begin(self) -> str:
        self._begun += 1
        mark = {_MARK: self._mark}
        answer = self._storage.request(self._url, "create_multipart_upload", **self._address, Metadata=mark)
        upload_id: str = answer["UploadId"]
        return upload_id

    def _sweep(self, own: str | None) -> None:
        """Abort what tries of ``_begin`` may have left. Another attempt at this object is superseded by this one."""
        if self._begun < 2:
            return
        bucket, key = self._address["Bucket"], self._address["Key"]
        try:
            listed = self._storage.call(self._url, "list_multipart_uploads", Bucket=bucket, Prefix=key)
            for upload in listed.get("Uploads", []):
                if upload["Key"] == key and upload["UploadId"] != own:
                    self._abandon(upload["UploadId"])
        except CuratorError as error:
            logger.warning("uploads left by lost answers were not looked for url=%s error=%s", self._url, error)

    def _complete(self) -> Entry:
        try:
            answer = self._storage.call(
                self._url,
                "complete_multipart_upload",
                **self._address,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
            )
        except NotFoundError:
            # it may have been completed by a try whose answer was lost
            entry = marked(self._storage, self._url, self._mark)
            if entry is None:
                raise
            return entry
        return Entry(self._url, self._size, answer["ETag"].strip('"'))

    def _must_be_open(self) -> None:
        if not self._open:
            raise ValueError(f"{self._url}: the upload is closed: it was committed or aborted")

    def _finish(self) -> None:
        self._open = False
        self._upload_id = None
        self._buffer = bytearray()
