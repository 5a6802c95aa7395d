"""The program of the decode processes: a nursery that loads the decoder once, and the processes that it forks.

The nursery is started anew (a worker with threads, CUDA or Ray must not fork), has one thread, and imports what
decoding needs; its children share that memory and start in milliseconds. Knows no worker: it obeys a socket, and when
that or its parent is gone, all of them end.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from curator.data import Decoded
from curator.engine.decode_messages import WINDOWS, Board, receive, receive_images, send_json, to_json
from curator.engine.decoding import Outcome, decode_one

COMMAND: Final = struct.Struct("<cQ")
SPAWN: Final = b"S"
END: Final = b"E"
_PARENT_POLL_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1
_OOM_SCORE: Final = "500"


def main() -> None:
    """The nursery. Standard input is the socket of its worker, whose end may come at any time."""
    with contextlib.suppress(EOFError, ConnectionError):
        _main()


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    parent = os.getppid()
    try:
        size = struct.unpack("<Q", receive(control, 8))[0]
        decode, shape = pickle.loads(receive(control, size))
        prepare = getattr(decode, "prepare", None)
        if prepare is not None:
            prepare()
    except (EOFError, ConnectionError):
        raise
    except BaseException as error:
        send_json(control, {"error": f"{type(error).__name__}: {error}"})
        return
    gc.freeze()
    send_json(control, {"pid": os.getpid()})
    _nurse(control, parent, decode, shape)


def _nurse(control: socket.socket, parent: int, decode: Callable[[bytes], Decoded], shape: Sequence[int]) -> None:
    """Fork and end children as told, until nobody is there to tell."""
    children: dict[int, int] = {}
    while True:
        # The socket may be kept open by a process that the worker forked.
        if not select.select([control], [], [], _PARENT_POLL_S)[0]:
            if os.getppid() != parent:
                break
            continue
        message, files, _, _ = socket.recv_fds(control, COMMAND.size, 2)
        if len(message) < COMMAND.size:
            break
        command, child = COMMAND.unpack(message)
        if command == SPAWN:
            nursery = os.getpid()
            pid = os.fork()
            if pid == 0:
                control.close()
                _live(nursery, decode, shape, *files)
            for file in files:
                os.close(file)
            children[pid] = pid
            send_json(control, {"pid": pid})
        else:
            send_json(control, {"status": _end(child) if children.pop(child, None) else None})
    for child in children:
        _end(child)


def _end(child: int) -> int:
    """Its wait status: a child that has died by itself is not reaped before, so that its number is still its own."""
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _live(nursery: int, decode: Callable[[bytes], Decoded], shape: Sequence[int], line: int, memory: int) -> None:
    """A child's whole life. Never returns: what follows is the nursery's."""
    try:
        _die_with(nursery)
        _serve(decode, socket.socket(fileno=line), Board(memory, shape))
    except (EOFError, ConnectionError):
        pass
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _die_with(nursery: int) -> None:
    """End when the nursery does, even in the midst of an image; and where memory is short, before the worker."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
            score.write(_OOM_SCORE)
    if os.getppid() != nursery:
        os._exit(0)


def _serve(decode: Callable[[bytes], Decoded], line: socket.socket, board: Board) -> None:
    while True:
        number, images = receive_images(line)
        outcomes: list[dict[str, Any]] = []
        for place, data in enumerate(images):
            board.begin(time.monotonic(), number, place)
            outcome = decode_one(decode, data)
            if isinstance(outcome.result, Decoded):
                outcome = _put(outcome, board.pixels[number % WINDOWS, place])
            outcomes.append(to_json(outcome))
        board.rest()
        send_json(line, outcomes)


def _put(outcome: Outcome, place: Any) -> Outcome:
    assert isinstance(outcome.result, Decoded)
    pixels = outcome.result.pixels
    if pixels.shape != place.shape:
        error = ValueError(f"the decoder gave pixels {pixels.shape}, not {place.shape}")
        return Outcome(outcome.sha256, error, outcome.seconds)
    place[:] = pixels
    return outcome
