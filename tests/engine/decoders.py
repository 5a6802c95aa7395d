"""Decoders that decode processes import, and a program around them that tests kill: what an image says is done."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import numpy as np

from curator.data import Decoded
from curator.engine.decode_nursery import Nursery
from curator.engine.decode_processes import DecodeProcesses
from curator.engine.decoding import Job
from curator.errors import SampleError

SHAPE = (3, 2, 2)


class Obedient:
    """ok N | slow N | bad | error | segfault | kill | spin | sleep | shape: the pixels of an image are its number."""

    def __call__(self, data: bytes) -> Decoded:
        kind, _, number = data.decode().partition(" ")
        if kind == "slow":
            time.sleep(0.02)
        elif kind == "bad":
            raise SampleError("truncated_image", f"image {number} ends \udc80")
        elif kind == "error":
            raise MemoryError(number)
        elif kind == "segfault":
            ctypes.string_at(0)
        elif kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "spin":
            while True:
                pass
        elif kind == "sleep":
            time.sleep(3600)
        shape = (3, 1, 1) if kind == "shape" else SHAPE
        return Decoded(np.full(shape, int(number or 0) % 256, np.uint8), 20, 10, "JPEG")


class NotLoaded:
    """A decoder whose libraries cannot be loaded where it is to work."""

    def __call__(self, data: bytes) -> Decoded:
        raise NotImplementedError

    def prepare(self) -> None:
        raise ImportError("libjpeg is not there")


def main() -> None:
    """Start processes, have one of them at work for ever, fork a stranger that holds all files open, and wait."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
    pool = DecodeProcesses(Nursery(Obedient(), SHAPE), slots=2, limit_s=3600.0)
    pool.submit(Job(b"sleep", lambda outcome: None))  # a thread that prints at the end of a program may abort it
    while len(pool.pids) < 1:
        time.sleep(0.01)
    stranger = os.fork() if "fork" in sys.argv else 0
    try:
        if stranger or "fork" not in sys.argv:
            sys.stdout.write(f"{pool.nursery_pid} {' '.join(map(str, pool.pids))} {stranger}\n")
            sys.stdout.flush()
        time.sleep(3600)
    except KeyboardInterrupt:
        pool.close()
