"""What a decode process and its worker say to each other: images go one way, outcomes and pixels the other.

Both sides import it, so it is light. Outcomes are JSON, never pickles: a decoder that a hostile image has taken over
must not take over its worker. Pixels lie in memory that both sides map; a Unix socket carries the rest. It would carry
pixels as fast (10 us of CPU for each of 224 x 224, on either side, both ways), but answers that are small let a message
be sent while the one before is answered: neither side ever waits to send what the other waits to send.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import tempfile
from collections.abc import Sequence
from math import prod
from typing import Any, BinaryIO, Final

import numpy as np

from curator.data import Decoded, Reject
from curator.engine.decoding import Outcome

TOGETHER: Final = 8
"""Images in one message at most: the interpreter lock changes hands about three times for each."""
TOGETHER_BYTES: Final = 2**20
"""Their encoded bytes, but for an image that is larger by itself: about as long as eight photographs of 0.2 MP take."""
WINDOWS: Final = 2
"""Messages under way to one process: while one is answered the next is at work."""

_REQUEST: Final = struct.Struct("<QQ")
_LENGTH: Final = struct.Struct("<Q")
_STANDING: Final = struct.Struct("<dQQ")
_PAGE: Final = 4096


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes. EOFError where the other side is gone."""
    found = connection.recv(size, socket.MSG_WAITALL)
    while len(found) < size:
        more = connection.recv(size - len(found), socket.MSG_WAITALL)
        if not more:
            raise EOFError("the other side is gone")
        found += more
    return found


def send_images(connection: socket.socket, number: int, images: Sequence[bytes]) -> None:
    lengths = struct.pack(f"<{len(images)}Q", *map(len, images))
    parts = [_REQUEST.pack(number, len(images)) + lengths, *images]
    sent = connection.sendmsg(parts)
    if sent < sum(map(len, parts)):
        connection.sendall(b"".join(parts)[sent:])


def receive_images(connection: socket.socket) -> tuple[int, list[bytes]]:
    number, count = _REQUEST.unpack(receive(connection, _REQUEST.size))
    lengths = struct.unpack(f"<{count}Q", receive(connection, 8 * count))
    return number, [receive(connection, length) if length else b"" for length in lengths]


def send_json(connection: socket.socket, value: Any) -> None:
    text = json.dumps(value).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)


class Answers:
    """JSON values from a connection, in order; what was received beyond one of them is the next one's beginning."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    def next(self) -> Any:
        """The next value; EOFError where the other side is gone."""
        while (end := self._end()) > len(self._received):
            more = self._connection.recv(65536)
            if not more:
                raise EOFError("the other side is gone")
            self._received += more
        text, self._received = self._received[_LENGTH.size : end], self._received[end:]
        return json.loads(text)

    def _end(self) -> int:
        """Where the next value ends, or its length where that is still to come."""
        known = len(self._received) >= _LENGTH.size
        return _LENGTH.size + (_LENGTH.unpack_from(self._received)[0] if known else 0)


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome without its pixels."""
    found: dict[str, Any] = {"sha256": outcome.sha256.hex(), "seconds": outcome.seconds}
    if isinstance(outcome.result, Decoded):
        found["decoded"] = [outcome.result.width, outcome.result.height, outcome.result.format]
    elif isinstance(outcome.result, Reject):
        found["reject"] = [outcome.result.reason, outcome.result.message]
    else:
        found["error"] = f"{type(outcome.result).__name__}: {outcome.result}"
    return found


def from_json(found: dict[str, Any], pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Outcome:
    result: Decoded | Reject | BaseException
    if "decoded" in found:
        width, height, format = found["decoded"]
        result = Decoded(pixels, int(width), int(height), str(format))
    elif "reject" in found:
        result = Reject(*map(str, found["reject"]))
    else:
        result = RuntimeError(f"in a decode process: {found['error']}")
    return Outcome(bytes.fromhex(found["sha256"]), result, float(found["seconds"]))


class Board:
    """Memory that a decode process and its worker share: where the process stands, and pixels of its last messages.

    ``pixels`` is uint8 [WINDOWS, TOGETHER, *shape]; message n uses window n modulo WINDOWS.
    """

    def __init__(self, file: int, shape: Sequence[int]) -> None:
        each = prod(shape)
        self._memory = mmap.mmap(file, _PAGE + WINDOWS * TOGETHER * each)
        flat = np.frombuffer(self._memory, np.uint8, WINDOWS * TOGETHER * each, offset=_PAGE)
        self.pixels = flat.reshape(WINDOWS, TOGETHER, *shape)

    @staticmethod
    def file(shape: Sequence[int]) -> BinaryIO:
        """Memory without a name. Not of /dev/shm, which has 64 MB in many containers."""
        if hasattr(os, "memfd_create"):
            made: BinaryIO = os.fdopen(os.memfd_create("curator-decode"), "wb+")
        else:
            made = tempfile.TemporaryFile()  # noqa: SIM115
        made.truncate(_PAGE + WINDOWS * TOGETHER * prod(shape))
        return made

    def begin(self, now: float, number: int, place: int) -> None:
        """Image ``place`` of message ``number`` is at work since ``now`` (``time.monotonic``)."""
        _STANDING.pack_into(self._memory, 0, now, number, place)

    def rest(self) -> None:
        _STANDING.pack_into(self._memory, 0, 0.0, 0, 0)

    def standing(self) -> tuple[float, int, int] | None:
        """Since when it is at work on which message's image; None where it is at work on none."""
        since, number, place = _STANDING.unpack_from(self._memory, 0)
        return (since, number, place) if since else None
