"""A program that drives a bank's build to its death: loads once, then forks a driver for each kill and each resume.

``python -m tests.curation.killed_bank CAPTIONS ENCODER OUTPUTS`` answers each line ``AT BEFORE`` (an operation's
number, 0 or 1) with a line of JSON: the operations of the driver that was killed there, its exit status, and that of
the one that resumed. ``AT`` -1 kills nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from curator.config import Config
from curator.storage import open_storage
from tests.curation.bank_jobs import bank_config, run
from tests.run.crashing import CrashingStorage
from tests.run.jobs import open_encoder


def _die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _drive(config: Config, log: Path, at: int | None, before: bool) -> int:
    """Fork, build in the child, and return the child's wait status."""
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
        status = 0 if run(config, storage=storage)[1] is not None else 1
    finally:
        os._exit(status)


def main(captions: str, encoder: str, outputs: str) -> None:
    open_encoder(f"local-dir:{encoder}")
    for line in sys.stdin:
        at, before = map(int, line.split())
        output = Path(outputs) / f"{at}-{before}"
        config = bank_config(captions, Path(encoder), output, Path(outputs) / "cache", run={"in_flight": 1})
        log = Path(outputs) / "operations.txt"
        killed = _drive(config, log, None if at < 0 else at, bool(before))
        operations = log.read_text().split()
        resumed = _drive(config, log, None, True)
        answer = {"operations": operations, "killed": killed, "resumed": resumed, "output": str(output)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
