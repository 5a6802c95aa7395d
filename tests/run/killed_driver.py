"""A program that drives a job to its death: loads once, then forks a driver for each kill and each resume.

``python -m tests.run.killed_driver MODULE:JOB INPUT ENCODER OUTPUTS`` answers each line ``AT BEFORE`` (an operation's
number, 0 or 1) on its input with a line of JSON: the operations of the driver that was killed there, its exit status,
and that of the one that resumed. ``AT`` -1 kills nothing. It patches nothing: the storage between sends the signal.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from curator.storage import Storage, open_storage
from tests.run.crashing import CrashingStorage
from tests.run.jobs import open_encoder

Drive: TypeAlias = Callable[[Storage], int]
"""Runs a job through a storage and gives its exit status."""

Ask: TypeAlias = Callable[[int, bool], dict[str, Any]]


@contextmanager
def asking(job: Callable[[Path, Path, Path], Drive], given: Path, encoder: Path, outputs: Path) -> Iterator[Ask]:
    """The program about ``job`` (INPUT, ENCODER, output), to be asked: kill a driver, resume, and hear how it went."""
    name = f"{job.__module__}:{job.__qualname__}"
    command = [sys.executable, "-m", __name__, name, str(given), str(encoder), str(outputs)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:

        def ask(at: int, before: bool) -> dict[str, Any]:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(f"{at} {int(before)}\n")
            program.stdin.flush()
            answer: dict[str, Any] = json.loads(program.stdout.readline())
            return answer

        yield ask
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(30) == 0


def _die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _drive(drive: Drive, log: Path, at: int | None, before: bool) -> int:
    """Fork, run the job in the child, and return the child's wait status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        file = log.open("w")

        class Told(list[str]):
            def append(self, name: str) -> None:
                file.write(name + "\n")
                file.flush()
                super().append(name)

        storage = CrashingStorage(open_storage(), at, before=before, die=_die)
        storage.operations = Told()
        status = drive(storage)
    finally:
        os._exit(status)


def main(job: str, given: str, encoder: str, outputs: str) -> None:
    module, _, name = job.partition(":")
    begin = getattr(import_module(module), name)
    open_encoder(f"local-dir:{encoder}")
    for line in sys.stdin:
        at, before = map(int, line.split())
        output = Path(outputs) / f"{at}-{before}"
        drive = begin(Path(given), Path(encoder), output)
        log = Path(outputs) / "operations.txt"
        killed = _drive(drive, log, None if at < 0 else at, bool(before))
        operations = log.read_text().split()
        resumed = _drive(drive, log, None, True)
        answer = {"operations": operations, "killed": killed, "resumed": resumed, "output": str(output)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
