"""The worker's side of the decode processes: starts their program, asks for processes and ends them.

Knows no queue and no sample; what the processes are sent is their caller's business.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from curator.data import Decoded
from curator.engine.decode_messages import Answers, Board
from curator.engine.decode_program import COMMAND, END, SPAWN

_ANSWER_S: Final = 300.0
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class NurseryError(Exception):
    """Decode processes cannot be had."""


class DecodeProcess:
    """One process: ``line`` carries messages, ``board`` is the memory that both sides share.

    ``late`` is the message and the place in it of an image that took too long, for which the process is killed.
    """

    def __init__(self, pid: int, line: socket.socket, board: Board) -> None:
        self.pid = pid
        self.line = line
        self.answers = Answers(line)
        self.board = board
        self.late: tuple[int, int] | None = None
        self.ended = False


class Nursery:
    """Starts its program at once and in the background: ``ready`` waits for it. ``shape`` is that of decoded pixels.

    The decoder is sent there as a pickle; the program imports what this process would, in the same order of paths. It
    has a session of its own, so that an interrupt from the terminal is the worker's alone.
    """

    def __init__(self, decode: Callable[[bytes], Decoded], shape: Sequence[int]) -> None:
        self._decode = decode
        self._shape = tuple(shape)
        self._lock = threading.Lock()
        self._ready = False
        try:
            content = pickle.dumps((decode, self._shape))
            self._control, theirs = socket.socketpair(socket.AF_UNIX)
            with theirs, _closed_unless_started(self._control):
                self._program = subprocess.Popen(
                    _command(), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env={**os.environ, **_ONE_THREAD},
                    start_new_session=True,
                )  # fmt: skip
        except (OSError, AttributeError, TypeError, pickle.PicklingError) as error:
            raise NurseryError(f"decode processes cannot be started: {error}") from error
        self._finish = weakref.finalize(self, _finish, self._control, self._program)
        self._answers = Answers(self._control)
        self._control.settimeout(_ANSWER_S)
        with contextlib.suppress(OSError):  # where it has ended already, ready() says so
            self._control.sendall(struct.pack("<Q", len(content)) + content)

    @property
    def pid(self) -> int:
        pid: int = self._program.pid
        return pid

    def again(self) -> Nursery:
        """Another one in the place of this one, which is gone. Raises NurseryError."""
        self.close()
        return Nursery(self._decode, self._shape)

    def ready(self) -> None:
        """Wait until processes can be had. Raises NurseryError."""
        with self._lock:
            if not self._ready:
                self._answer("the decode processes' program")
                self._ready = True

    def spawn(self) -> DecodeProcess:
        """A new process. Raises NurseryError."""
        self.ready()
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with theirs, _closed_unless_started(ours), Board.file(self._shape) as memory, self._lock:
            board = Board(memory.fileno(), self._shape)
            with self._told():
                socket.send_fds(self._control, [COMMAND.pack(SPAWN, 0)], [theirs.fileno(), memory.fileno()])
            return DecodeProcess(self._answer("a decode process")["pid"], ours, board)

    def end(self, process: DecodeProcess) -> str | None:
        """Kill the process if it lives. How it had ended by itself; None where that is not known."""
        with self._lock, self._told():
            if process.ended:
                return None
            process.ended = True
            self._control.sendall(COMMAND.pack(END, process.pid))
            status = self._answer("the end of a decode process")["status"]
        return None if status is None else _told_by(status)

    def close(self) -> None:
        """End all processes: what they are sent or asked from now on fails."""
        self._finish()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NurseryError(f"the decode processes' program is gone: {error}") from error

    def _answer(self, what: str) -> Any:
        try:
            answer = self._answers.next()
        except (OSError, EOFError) as error:
            status = self._program.poll()
            raise NurseryError(f"{what} did not start: {f'exit status {status}' if status else error}") from error
        if "error" in answer:
            raise NurseryError(f"{what} did not start: {answer['error']}")
        return answer


def _finish(control: socket.socket, program: subprocess.Popen[bytes]) -> None:
    """The program ends at once where it is told of its worker's end; a machine that is busy is not waited for long."""
    with contextlib.suppress(OSError):
        control.shutdown(socket.SHUT_RDWR)
    try:
        program.wait(5.0)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
    control.close()


@contextlib.contextmanager
def _closed_unless_started(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _command() -> list[str]:
    """Our own interpreter; no directory comes before those that we import from, not even the working directory."""
    if not sys.executable:
        raise OSError("this Python does not know its own interpreter")
    program = f"import sys; sys.path[:] = {sys.path!r}; from curator.engine.decode_program import main; main()"
    return [sys.executable, "-c", program]


def _told_by(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.waitstatus_to_exitcode(status)}"
