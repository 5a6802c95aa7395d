"""Storage on mounted file systems: atomic publication, exclusive creation, compare-and-swap. Knows paths, no networks.

A directory is locked (flock) while a name in it is published, so that ``replace`` is safe between processes. Temporary
files stand beside their target under a name that begins with a dot, and no listing shows them.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from curator.errors import ConfigError, ExistsError, NotFoundError, ReplacedError
from curator.storage.base import Entry, ReadStream, Upload
from curator.storage.local_files import TemporaryFile, directory_lock, is_private, sweeper, sync_directory, verdict

_SCHEME = "file://"
_T = TypeVar("_T")


class LocalStorage:
    """Files by plain path (a relative one resolves against the working directory) or ``file://`` url, not decoded."""

    def list(self, prefix: str) -> Iterator[Entry]:
        cut = prefix.rfind("/", len(_SCHEME) if prefix.startswith(_SCHEME) else 0) + 1
        return _walk(prefix[:cut], prefix[cut:], ())

    def stat(self, url: str) -> Entry:
        return _stat(url)

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        return _guard(url, lambda: _LocalStream(url, offset, length, etag))

    def read(self, url: str) -> bytes:
        def slurp() -> bytes:
            with open(_path(url), "rb") as file:
                return file.read()

        return _guard(url, slurp)

    def write(self, url: str, data: bytes) -> Entry:
        upload = self.upload(url)
        try:
            upload.write(data)
            return upload.commit()
        finally:
            upload.abort()

    def create(self, url: str, data: bytes) -> Entry:
        def publish(file: TemporaryFile, path: str) -> None:
            try:
                os.link(file.path, path)
            except FileExistsError:
                if not file.is_linked():
                    raise
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                    raise
                # no hard links here: the directory's lock keeps every other Curator out between the look and the rename
                if os.path.lexists(path):
                    raise FileExistsError(errno.EEXIST, "exists", path) from error
                os.replace(file.path, path)

        return self._publish(url, data, publish)

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        def publish(file: TemporaryFile, path: str) -> None:
            current = _etag(os.stat(path))
            if current != etag:
                raise ReplacedError(f"{url}: is no longer {etag}, but {current}")
            file.replace(path)

        return self._publish(url, data, publish)

    def upload(self, url: str) -> Upload:
        path = _target(url)
        return _LocalUpload(url, path, _guard(url, lambda: TemporaryFile.beside(path)))

    def delete(self, url: str) -> None:
        path = _target(url)

        def remove() -> None:
            with suppress(FileNotFoundError, NotADirectoryError), directory_lock(path):
                os.unlink(path)
                sync_directory(path)

        _guard(url, remove)

    def sweeper(self, url: str) -> Callable[[], None]:
        """What removes the directories on the way to ``url`` that are not there yet, those of them that are empty."""
        return sweeper(_target(url))

    def _publish(self, url: str, data: bytes, publish: Callable[[TemporaryFile, str], None]) -> Entry:
        path = _target(url)

        def run() -> Entry:
            with TemporaryFile.beside(path) as file:
                file.write(data)
                file.sync()
                with directory_lock(path):
                    publish(file, path)
                entry = _entry(url, file.stat())
            sync_directory(path)
            return entry

        return _guard(url, run)


class _LocalStream:
    """One open file. With an etag it is compared at each read, so that a file rewritten in place is no mixture."""

    def __init__(self, url: str, offset: int, length: int | None, etag: str | None) -> None:
        self._url = url
        self._etag = etag
        self._left = length
        self._file = open(_path(url), "rb")  # noqa: SIM115 - closed by close()
        try:
            self._check()
            self._file.seek(offset)
        except BaseException:
            self._file.close()
            raise

    def read(self, size: int = -1, /) -> bytes:
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        data = _guard(self._url, lambda: self._file.read(size))
        if self._left is not None:
            self._left -= len(data)
        self._check()
        return data

    def close(self) -> None:
        self._file.close()

    def _check(self) -> None:
        if self._etag is None:
            return
        current = _etag(_guard(self._url, lambda: os.fstat(self._file.fileno())))
        if current != self._etag:
            raise ReplacedError(f"{self._url}: is no longer {self._etag}, but {current}; replaced under the reader")


class _LocalUpload:
    def __init__(self, url: str, path: str, file: TemporaryFile) -> None:
        self._url = url
        self._path = path
        self._file = file

    def write(self, data: bytes, /) -> int:
        return _guard(self._url, lambda: self._file.write(data))

    def commit(self) -> Entry:
        def publish() -> Entry:
            self._file.sync()
            with directory_lock(self._path):
                self._file.replace(self._path)
            sync_directory(self._path)
            return _entry(self._url, self._file.stat())

        entry = _guard(self._url, publish)
        self._file.close()
        return entry

    def abort(self) -> None:
        self._file.close()


def _walk(directory: str, start: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    """Entries under ``directory`` whose name begins with ``start``, in order of url; holds one name list per level.

    A directory sorts as its name and a slash, which is where its content belongs. A loop of links is walked once.
    """
    path = _path(directory) if directory else "."
    try:
        stat = os.stat(path)
        if (stat.st_dev, stat.st_ino) in ancestors:
            return
        with os.scandir(path) as entries:
            names = sorted(
                f"{entry.name}/" if entry.is_dir() else entry.name
                for entry in entries
                if entry.name.startswith(start) and not is_private(entry.name)
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise verdict(directory or ".", error) from error
    for name in names:
        if name.endswith("/"):
            yield from _walk(f"{directory}{name}", "", (*ancestors, (stat.st_dev, stat.st_ino)))
        else:
            url = f"{directory}{name}"
            with suppress(NotFoundError):  # gone since the directory was read, or a dangling link
                yield _stat(url)


def _guard(url: str, call: Callable[[], _T]) -> _T:
    try:
        return call()
    except FileExistsError as error:
        raise ExistsError(f"{url}: exists already") from error
    except OSError as error:
        raise verdict(url, error) from error


def _path(url: str) -> str:
    if "\0" in url:
        raise ConfigError(f"{url!r}: no path holds a null character")
    return url[len(_SCHEME) :] if url.startswith(_SCHEME) else url


def _target(url: str) -> str:
    path = _path(url)
    if not os.path.basename(path):
        raise ConfigError(f"{url}: names a directory, not a file")
    return path


def _etag(stat: os.stat_result) -> str:
    # No inode number: network mounts hand out new ones at every mount, and each night would find every shard "changed".
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _stat(url: str) -> Entry:
    return _entry(url, _guard(url, lambda: os.stat(_path(url))))


def _entry(url: str, stat: os.stat_result) -> Entry:
    if modes.S_ISDIR(stat.st_mode):
        raise NotFoundError(f"{url}: is a directory, not an object")
    return Entry(url, stat.st_size, _etag(stat))
