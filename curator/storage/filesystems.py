"""Storage on other schemes (gs, az, hf ...) through fsspec, an optional extra. Owns the adaption; knows no cloud.

What fsspec cannot promise is weaker here, and ``conditional_writes`` is False to say so: ``create`` is exclusive where
the file system has a create mode, ``replace`` looks and then writes, and an etag is compared when a stream is opened.
Timeouts are the file system's own.
"""

from __future__ import annotations

import inspect
import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

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
from curator.storage.backoff import Backoff
from curator.storage.base import Entry, ReadStream, Upload
from curator.storage.options import StorageOptions
from curator.storage.urls import join, redact

logger = logging.getLogger(__name__)
_T = TypeVar("_T")
# schemes whose file systems publish an object as a whole when its last byte has arrived
_ATOMIC = ("gs", "gcs", "az", "abfs", "abfss")
_IDENTITY = ("etag", "ETag", "generation", "md5Hash", "content_md5", "blob_id", "mtime", "last_modified", "modified")


class FsspecStorage:
    """Objects of one scheme. Writing is refused where the file system could show half an object."""

    conditional_writes = False

    def __init__(self, scheme: str, options: StorageOptions) -> None:
        self._scheme = scheme
        self._options = options
        self._backoff = Backoff(options.attempts, options.backoff_s, options.backoff_cap_s)
        self._cached: Any = None
        self._forget()
        self._files()

    def __reduce__(self) -> tuple[Any, ...]:
        return FsspecStorage, (self._scheme, self._options)

    def list(self, prefix: str) -> Iterator[Entry]:
        cut = prefix.rfind("/") + 1
        return self._walk(prefix[:cut], prefix[cut:])

    def stat(self, url: str) -> Entry:
        return _entry(url, self._retried(url, lambda files, path: files.info(path)))

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        entry = self.stat(url)
        if etag is not None and entry.etag != etag:
            raise ReplacedError(f"{redact(url)}: is no longer {etag}, but {entry.etag}")
        end = entry.size if length is None else min(entry.size, offset + length)
        file = self._tried(url, lambda files, path: files.open(path, "rb", block_size=self._options.part_bytes))
        return _FsspecStream(url, file, offset, max(0, end - offset))

    def read(self, url: str) -> bytes:
        self.stat(url)
        return self._retried(url, lambda files, path: bytes(files.cat_file(path)))

    def write(self, url: str, data: bytes) -> Entry:
        self._must_be_writable(url)
        self._retried(url, lambda files, path: files.pipe_file(path, data))
        return self.stat(url)

    def create(self, url: str, data: bytes) -> Entry:
        self._must_be_writable(url)
        if "mode" in inspect.signature(self._files().pipe_file).parameters:
            self._tried(url, lambda files, path: files.pipe_file(path, data, mode="create"))
            return self.stat(url)
        if self._tried(url, lambda files, path: files.exists(path)):
            raise ExistsError(f"{redact(url)}: exists already")
        return self.write(url, data)

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        current = self.stat(url)
        if current.etag != etag:
            raise ReplacedError(f"{redact(url)}: is no longer {etag}, but {current.etag}")
        return self.write(url, data)

    def upload(self, url: str) -> Upload:
        self._must_be_writable(url)
        return _FsspecUpload(self, url)

    def delete(self, url: str) -> None:
        self._must_be_writable(url)
        try:
            self._retried(url, lambda files, path: files.rm_file(path))
        except NotFoundError:
            return

    def check_conditional_writes(self, url_prefix: str) -> bool:
        """False always, after a probe that raises where ``create`` takes a name twice: nothing may be built on that."""
        url = join(url_prefix, f"_curator-probe-{uuid.uuid4().hex}")
        try:
            self.create(url, b"1")
            try:
                self.create(url, b"2")
            except ExistsError:
                logger.warning(
                    "conditional writes unsupported url=%s: never start two drivers on it", redact(url_prefix)
                )
                return False
        finally:
            self.delete(url)
        raise ConfigError(f"{redact(url_prefix)}: this file system creates a name twice; write to a path or to s3://")

    def put(self, url: str, path: str) -> Entry:
        """Publish a local file as the object, in one step."""
        self._retried(url, lambda files, target: files.put_file(path, target))
        return self.stat(url)

    def _walk(self, directory: str, start: str) -> Iterator[Entry]:
        try:
            found = self._retried(directory, lambda files, path: files.ls(path, detail=True))
        except NotFoundError:
            return
        level = {}
        for info in found:
            name = info["name"].rstrip("/").rsplit("/", 1)[-1]
            if name.startswith(start):
                level[f"{name}/" if info["type"] == "directory" else name] = info
        for name in sorted(level):
            if name.endswith("/"):
                yield from self._walk(f"{directory}{name}", "")
            else:
                yield _entry(f"{directory}{name}", level[name])

    def _must_be_writable(self, url: str) -> None:
        if self._scheme not in _ATOMIC:
            raise ConfigError(f"{redact(url)}: {self._scheme}:// is read-only here; write to a path or to s3://")
        if not url.split("://", 1)[1].partition("/")[2]:
            raise ConfigError(f"{redact(url)}: names no object; give {self._scheme}://bucket/key")

    def _retried(self, url: str, call: Callable[[Any, str], _T]) -> _T:
        return self._backoff.call(lambda: self._tried(url, call), redact(url))

    def _tried(self, url: str, call: Callable[[Any, str], _T]) -> _T:
        files = self._files()
        try:
            return call(files, files._strip_protocol(url))
        except Exception as error:
            raise _verdict(url, error) from error

    def _files(self) -> Any:
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if self._cached is None:
                self._cached = _connect(self._scheme)
            return self._cached

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._cached = None


class _FsspecStream:
    def __init__(self, url: str, file: Any, offset: int, left: int) -> None:
        self._url = url
        self._file = file
        self._left = left
        if left:
            file.seek(offset)

    def read(self, size: int = -1, /) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        if size == 0:
            return b""
        try:
            data = bytes(self._file.read(size))
        except Exception as error:
            raise _verdict(self._url, error) from error
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()


class _FsspecUpload:
    """Gathers the object in a local temporary file, so that nothing is sent before it is whole."""

    def __init__(self, storage: FsspecStorage, url: str) -> None:
        self._storage = storage
        self._url = url
        self._file: Any = tempfile.NamedTemporaryFile(prefix="curator-upload-")  # noqa: SIM115 - closed by commit or abort

    def write(self, data: bytes, /) -> int:
        written: int = self._opened().write(data)
        return written

    def commit(self) -> Entry:
        self._opened().flush()
        try:
            return self._storage.put(self._url, self._file.name)
        finally:
            self.abort()

    def abort(self) -> None:
        self._file.close()

    def _opened(self) -> Any:
        if self._file.closed:
            raise ValueError(f"{redact(self._url)}: the upload is closed: it was committed or aborted")
        return self._file


def _connect(scheme: str) -> Any:
    try:
        import fsspec

        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{scheme}:// needs pip install 'curator[fsspec]' and its file system: {error}") from error


def _entry(url: str, info: dict[str, Any]) -> Entry:
    if info["type"] == "directory":
        raise NotFoundError(f"{redact(url)}: is a directory, not an object")
    if info.get("size") is None:
        raise ShardError(f"{redact(url)}: the file system does not say its size; copy it to storage first")
    known = next((str(info[name]) for name in _IDENTITY if info.get(name) is not None), "")
    return Entry(url, int(info["size"]), known.strip('"') or f"size-{info['size']}")


def _verdict(url: str, error: Exception) -> CuratorError:
    if isinstance(error, CuratorError):
        return error
    status = next((getattr(error, name) for name in ("status", "code", "status_code") if hasattr(error, name)), None)
    shown = f"{redact(url)}: {type(error).__name__}"
    if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)) or status == 404:
        return NotFoundError(f"{shown}: does not exist")
    if isinstance(error, FileExistsError):
        return ExistsError(f"{redact(url)}: exists already")
    if isinstance(error, PermissionError) or status in (401, 403):
        return ForbiddenError(f"{shown}: check the credentials that fsspec finds")
    if isinstance(error, (ImportError, NotImplementedError)):
        return ConfigError(f"{shown}: {error}")
    return RetryableError(f"{shown}: {error}")
