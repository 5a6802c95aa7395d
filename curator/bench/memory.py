"""How much memory a process and all that it started hold at most. Knows nothing of what they do."""

from __future__ import annotations

import contextlib
import threading

import psutil


class PeakMemory:
    """The largest resident memory of a process and all its descendants, in bytes, looked at ``1 / every_s`` times.

    Pages that processes share count once for each. A process that has just been forked to become another program shows
    all memory of its parent, and the parent's command: it is left out.
    """

    def __init__(self, pid: int, every_s: float = 0.1) -> None:
        self.bytes = 0
        self._root = psutil.Process(pid)
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self.bytes

    def kill(self) -> None:
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self.bytes = max(self.bytes, sum(map(_rss, self._tree())))

    def _tree(self) -> list[psutil.Process]:
        try:
            command = self._root.cmdline()
            return [self._root, *(child for child in self._root.children(recursive=True) if _command(child) != command)]
        except psutil.NoSuchProcess:
            return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
