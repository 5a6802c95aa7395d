"""Shards far larger than memory should be: a million tiny members, and members of gigabytes, from generated streams."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from typing import Any, cast

import psutil
import pytest

from curator.shards.keys import SeenKeys
from curator.shards.reader import read_samples
from tests.builders import tar_bytes


class Generated:
    """A read-only stream over chunks that are made as they are read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def gigabytes(gib: int) -> Iterator[bytes]:
    yield header("0.jpg", gib << 30)
    block = bytes(1 << 20)
    for _ in range(gib << 10):
        yield block
    yield tar_bytes([("0.txt", b"caption"), ("1.jpg", b"fine")])


def tiny(count: int) -> Iterator[bytes]:
    for first in range(0, count, 1000):
        names = range(first, min(first + 1000, count))
        yield b"".join(header(f"{number * 7919 % count:08d}.txt", 0) for number in names)
    yield bytes(1024)


def peak_of(chunks: Iterator[bytes], **options: Any) -> tuple[int, int, list[str]]:
    """Peak traced bytes, number of samples, reasons of faults."""
    stream = cast("io.BytesIO", Generated(chunks))
    tracemalloc.start()
    count, reasons = 0, []
    for sample in read_samples(stream, **options):
        count += 1
        reasons += [sample.fault.reason] if sample.fault else []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, count, reasons


def test_a_member_over_the_limit_is_passed_over_in_constant_memory() -> None:
    peak, count, reasons = peak_of(gigabytes(1), max_member_bytes=1 << 20)
    assert (count, reasons) == (2, ["member_too_large"])
    assert peak < 8 << 20


@pytest.mark.slow
def test_a_member_of_two_gigabytes() -> None:
    peak, count, reasons = peak_of(gigabytes(2))
    assert (count, reasons) == (2, ["member_too_large"])
    assert peak < 8 << 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_tiny_members() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    count = 0
    for count, sample in enumerate(read_samples(cast("io.BytesIO", Generated(tiny(1_000_000)))), 1):  # noqa: B007
        if not sample.index % 10_000:
            assert process.memory_info().rss - before < 96 << 20
    assert count == 1_000_000


def test_memory_does_not_grow_with_the_shard() -> None:
    small, large = peak_of(tiny(1_000)), peak_of(tiny(8_000))
    assert (small[1], large[1]) == (1_000, 8_000)
    assert large[0] < small[0] + (1 << 20)


def test_keys_are_remembered_beyond_the_recent_ones() -> None:
    seen = SeenKeys()
    for number in range(200_000):
        seen.add(f"key {number}")
    assert all(f"key {number}" in seen for number in range(0, 200_000, 101))
    assert not any(f"other {number}" in seen for number in range(1000))
