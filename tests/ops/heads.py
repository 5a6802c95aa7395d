"""A real Ray head and further nodes for tests, with a token of their own, started as one starts them by hand.

Owns their processes and ends them all; knows nothing of Curator. It shares nothing with another Ray on the machine:
ports, home, temporary folder and token are its own, and no `ray stop` is used, which would end the others, too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

RAY = str(Path(sys.executable).with_name("ray"))
START_S = 240  # on a busy machine; a few seconds on a free one


class Head:
    """``ray start --head`` with ``options``, answering on loopback once the constructor is through."""

    def __init__(self, options: Sequence[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cr-", dir="/tmp"))  # the paths of Ray's sockets must be short
        self._mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[bytes]] = []
        self.port = 0
        self.url = ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {
            **kept,
            "HOME": str(self.folder / "home"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_NUM_REDIS_GET_RETRIES": "120",
            "CURATOR_TEST_HEAD": self._mark,
        }
        (self.folder / "home").mkdir()
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", "tests.ops.heads", self._mark],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.token = self.ray("get-auth-token", "--generate").strip().splitlines()[-1]
            for last in (False, False, True):  # Ray gives a node 30 s to start, which a busy machine may not have
                try:
                    self._start_head(options)
                    break
                except RuntimeError:
                    if last:
                        raise
                    end_all(self._mark)
        except BaseException:
            self.stop()
            raise

    def _start_head(self, options: Sequence[str]) -> None:
        self.port, dashboard, client = free_ports(3)
        self.url = self.environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
        started = self._start(
            "--head", f"--port={self.port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
            "--node-ip-address=127.0.0.1", *options,
        )  # fmt: skip
        self._await(started)

    def _start(self, *options: str, drain_s: float = 0.0) -> subprocess.Popen[bytes]:
        (agent,) = free_ports(1)
        folder = self.folder / str(len(self._started))  # two nodes in one would unpack working_dir over each other
        command = [RAY, "start", f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}", "--block"]
        with (self.folder / f"start-{len(self._started)}.log").open("wb") as log:
            environment = {**self.environment, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(drain_s)}
            started = subprocess.Popen(
                [*command, *options], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(started)
        return started

    def _await(self, head: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if head.poll() is not None:
                break
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                if self.get("/api/version")[0] == 200:
                    return
            time.sleep(0.2)
        log = self.folder / f"start-{self._started.index(head)}.log"
        raise RuntimeError(f"the head did not start: {log.read_text()}")

    def add_node(self, *options: str, drain_s: float = 0.0) -> subprocess.Popen[bytes]:
        """A further node on this machine, which joins in its own time; SIGTERM drains it for up to ``drain_s``."""
        address = f"--address=127.0.0.1:{self.port}"
        return self._start(address, "--node-ip-address=127.0.0.1", *options, drain_s=drain_s)

    def get(self, path: str, *, token: str | None = "") -> tuple[int, bytes]:
        """Status and body of the dashboard's answer; ``token`` is the head's unless another, or None, is given."""
        token = self.token if token == "" else token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def ray(self, *words: str, status: int = 0, cwd: Path | None = None) -> str:
        """What ``ray WORDS`` prints, in the head's environment."""
        run = subprocess.run(
            [RAY, *words], env=self.environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert run.returncode == status, run.stdout
        return run.stdout

    def client(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.url, headers={"Authorization": f"Bearer {self.token}"})

    def stop(self) -> None:
        """End every process that was started here or by those, whoever is its parent by now."""
        end_all(self._mark)
        for started in self._started:
            started.wait()
        self._watchdog.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


def end_all(mark: str) -> None:
    """Kill every process whose environment carries the mark, until none is left."""
    until = time.monotonic() + 30
    while left := _marked(mark):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)
        assert time.monotonic() < until, f"still there: {left}"


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("CURATOR_TEST_HEAD") == mark
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


if __name__ == "__main__":  # the watchdog: its input ends with the test process, however that ends
    sys.stdin.read()
    end_all(sys.argv[1])
