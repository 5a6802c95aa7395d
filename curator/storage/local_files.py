"""The file-system moves under LocalStorage: temporary files, locks, syncs. Knows POSIX, no url and no Storage."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from curator.errors import CuratorError, ForbiddenError, NotFoundError, RetryableError, ShardError

LOCK_WAIT_S = 30.0
_TEMPORARY = ".curator-tmp-"
_LOCK = ".curator-lock"
_TRIES = 3
_NO_DIRECTORY_LOCK = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


def is_private(name: str) -> bool:
    """Whether a file of this name is Curator's own scaffolding, which no listing shows."""
    return name.startswith((_TEMPORARY, _LOCK))


class TemporaryFile:
    """A file beside its target, under a private name, that vanishes at ``close`` unless it was renamed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    @classmethod
    def beside(cls, target: str) -> TemporaryFile:
        """A new temporary file in the directory of ``target``, which is made where it is missing."""
        directory = os.path.dirname(target)
        path = os.path.join(directory, f"{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}")
        for _ in range(_TRIES):  # a sweeper may take the directory away before the file is in it
            with suppress(FileNotFoundError):
                return cls(path)
            with suppress(FileNotFoundError):
                os.makedirs(directory or ".", exist_ok=True)
        return cls(path)

    def write(self, data: bytes) -> int:
        """Write all of ``data``; a file system may take it in pieces."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        return len(data)

    def sync(self) -> None:
        """Make the bytes durable, and stamp the file: its modification time, to the nanosecond, is its version."""
        now = time.time_ns()
        os.utime(self._descriptor, ns=(now, now))
        os.fsync(self._descriptor)

    def replace(self, target: str) -> None:
        """Take ``target``'s place (hold its directory's lock), with a later modification time than it had."""
        with suppress(FileNotFoundError):
            latest = os.stat(target).st_mtime_ns
            if self.stat().st_mtime_ns <= latest:
                os.utime(self._descriptor, ns=(latest + 1, latest + 1))
        os.replace(self.path, target)

    def stat(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def is_linked(self) -> bool:
        """Whether a second name was made for it: on NFS a link can succeed and its answer be lost."""
        return self.stat().st_nlink == 2

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
            os.close(fd)

    def __enter__(self) -> TemporaryFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _descriptor(self) -> int:
        if self._fd is None:
            raise ValueError("the upload is closed: it was committed or aborted")
        return self._fd


def sweeper(target: str) -> Callable[[], None]:
    """What removes the directories above ``target`` that do not exist now, those of them that are empty by then."""
    missing = []
    directory = os.path.dirname(target)
    while directory and not os.path.lexists(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)

    def sweep() -> None:
        for each in missing:
            with suppress(OSError):  # never made, gone, or no longer empty
                os.rmdir(each)

    return sweep


@contextmanager
def directory_lock(target: str, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the directory of ``target`` against every other Curator on this file system.

    The lock is a flock on the directory itself; where that is refused (NFS), on a private file in it. It is held for a
    rename and not for a sync, so that ``wait_s`` runs out only where its holder is stopped: RetryableError.
    """
    directory = os.path.dirname(target) or "."
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _wait(fd, directory, wait_s)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_LOCK:
                raise
            os.close(fd)
            fd = os.open(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            _wait(fd, directory, wait_s)
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child may share the descriptor and outlive us
    finally:
        os.close(fd)


def _wait(fd: int, directory: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    pause_s = 0.0005
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise RetryableError(
                    f"{directory}: locked by another process for {wait_s:g} s; `lslocks` names one that is stopped"
                ) from None
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.05)


def sync_directory(target: str) -> None:
    """Make the names in the directory of ``target`` durable, where the file system can."""
    fd = os.open(os.path.dirname(target) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # FUSE and network mounts refuse to sync a directory
            os.fsync(fd)
    finally:
        os.close(fd)


def verdict(url: str, error: OSError) -> CuratorError:
    """The verdict on what the operating system said about ``url``."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return NotFoundError(f"{url}: no such file ({reason})")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ForbiddenError(f"{url}: {reason}; check the permissions of the user that runs Curator")
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return ShardError(f"{url}: {reason}")
    return RetryableError(f"{url}: {reason}")
