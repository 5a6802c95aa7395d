"""A shard's bytes in order, gunzipped where they are gzip, each read exact. Knows no tar headers and no samples."""

from __future__ import annotations

import zlib
from typing import BinaryIO, Final, Protocol

from curator.storage.base import ReadStream

_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 8 << 20
_BOMB_FLOOR_BYTES: Final = 256 << 20
_BOMB_RATIO: Final = 200


class Damage(Exception):
    """The shard stops making sense at ``offset`` (bytes into the decompressed tar).

    ``complete`` says that every sample had ended before, so that a salvage may keep the last one, too.
    """

    def __init__(self, offset: int, problem: str, way_out: str, *, complete: bool = False) -> None:
        super().__init__(offset, problem, way_out)
        self.offset = offset
        self.problem = problem
        self.way_out = way_out
        self.complete = complete


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Tape:
    """Exact reads over a stream that may deliver fewer bytes than it is asked for. Holds about 1 MiB."""

    def __init__(self, stream: ReadStream | BinaryIO) -> None:
        head = _at_least(stream, 2)
        self._stream: _Readable = stream
        if head[:2] == _GZIP_MAGIC:
            self._stream, head = _Gunzip(stream, head, self), b""
        self._buffer = head
        self._start = 0
        self._position = 0

    @property
    def offset(self) -> int:
        """How many bytes of the tar have been taken or skipped."""
        return self._start + self._position

    def take(self, size: int, what: str) -> bytes:
        """The next ``size`` bytes; ``Damage`` that says ``what`` was cut if the stream ends before."""
        end = self._position + size
        if end <= len(self._buffer):
            taken = self._buffer[self._position : end]
            self._position = end
            return taken
        begin = self.offset
        pieces = [self._buffer[self._position :]]
        missing = size - len(pieces[0])
        while missing > _CHUNK_BYTES:
            piece = self._stream.read(min(missing, _PIECE_BYTES))
            if not piece:
                raise self._cut(begin, size, size - missing, what)
            pieces.append(piece)
            missing -= len(piece)
        self._start = begin + size - missing
        self._buffer, self._position = b"", 0
        while missing:
            self._refill()
            if not self._buffer:
                raise self._cut(begin, size, size - missing, what)
            self._position = min(missing, len(self._buffer))
            pieces.append(self._buffer[: self._position])
            missing -= self._position
        return b"".join(pieces)

    def skip(self, size: int, what: str) -> None:
        """Pass over ``size`` bytes in constant memory; ``Damage`` as in ``take``."""
        begin, missing = self.offset, size
        while missing > len(self._buffer) - self._position:
            missing -= len(self._buffer) - self._position
            self._refill()
            if not self._buffer:
                raise self._cut(begin, size, size - missing, what)
        self._position += missing

    def rest(self) -> bytes:
        """Some of the bytes that follow, or ``b""`` at the end of the stream."""
        if self._position == len(self._buffer):
            self._refill()
        taken = self._buffer[self._position :]
        self._position = len(self._buffer)
        return taken

    def _refill(self) -> None:
        self._start += len(self._buffer)
        self._position = 0
        self._buffer = b""
        self._buffer = self._stream.read(_CHUNK_BYTES)

    @staticmethod
    def _cut(offset: int, size: int, found: int, what: str) -> Damage:
        if not offset + found:
            return Damage(0, "the shard is empty (cut at byte 0)", "write it again", complete=True)
        problem = f"the shard is cut at byte {offset + found}: {found} of {size} bytes of {what} are there"
        return Damage(offset + found, problem, "write the shard again, or keep its whole samples with --salvage")


class _Gunzip:
    """The decompressed bytes of one or more gzip members, checked to their trailers, in constant memory."""

    def __init__(self, stream: ReadStream | BinaryIO, head: bytes, tape: Tape) -> None:
        self._stream = stream
        self._pending = head
        self._tape = tape
        self._inflate = zlib.decompressobj(wbits=31)
        self._bytes_in = len(head)
        self._bytes_out = 0

    def read(self, size: int) -> bytes:
        while True:
            try:
                out = self._inflate.decompress(self._pending, size)
            except zlib.error as error:
                raise self._damage(f"the gzip data are corrupt ({error})") from None
            self._pending = self._inflate.unconsumed_tail
            if out:
                self._bytes_out += len(out)
                if self._bytes_out > max(_BOMB_FLOOR_BYTES, _BOMB_RATIO * self._bytes_in):
                    raise self._damage(f"a gzip bomb: {self._bytes_in} bytes became {self._bytes_out}")
                return out
            if self._inflate.eof:
                if not self._next_member():
                    return b""
            elif not self._pending and not self._feed():
                raise self._damage("the shard is cut: its gzip data end early")

    def _next_member(self) -> bool:
        self._pending = self._inflate.unused_data.lstrip(b"\0")
        while len(self._pending) < 2 and self._feed():
            self._pending = self._pending.lstrip(b"\0")
        if not self._pending:
            return False
        if self._pending[:2] != _GZIP_MAGIC:
            raise self._damage("bytes that are not gzip follow the gzip data")
        self._inflate = zlib.decompressobj(wbits=31)
        return True

    def _feed(self) -> bool:
        chunk = self._stream.read(_CHUNK_BYTES // 4)
        self._pending += chunk
        self._bytes_in += len(chunk)
        return bool(chunk)

    def _damage(self, problem: str) -> Damage:
        return Damage(self._bytes_out, problem, "write the shard again, or keep its whole samples with --salvage")


def _at_least(stream: ReadStream | BinaryIO, size: int) -> bytes:
    head = b""
    while len(head) < size and (piece := stream.read(_CHUNK_BYTES)):
        head += piece
    return head
