"""Damaged and odd shards, one for each seed. Owns the kinds of damage; knows nothing of how the reader takes them."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Callable

from tests.builders import make_jpeg, make_png, make_webp

IMAGES = [
    make_jpeg(40, 30),
    make_png(24, 24, mode="P"),
    make_webp(32, 20),
    make_jpeg(300, 20, seed=2),
    b"",
    b"<html>no",
]
NAMES = [
    "{i:03d}.{e}",
    "{i:03d}.{e}",
    "dir.d/{i}.seg.{e}",
    "/abs/{i}.{e}",
    "../../{i}.{e}",
    "a..{i}.{e}",
    ".{i}.{e}",
    "{i}",
    "__{i}__/x.{e}",
    "ü{i}.{e}",
    "\udcff\udcfe{i}.{e}",
    "n" * 150 + "{i}.{e}",
    "d/" * 120 + "{i}.{e}",
]


def shard(seed: int) -> bytes:
    """A shard of a few samples with one to three kinds of damage (now and then none), gzipped at times."""
    rng = random.Random(seed)
    data = _tar(rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        data = rng.choice(_BYTES)(rng, data)
    if rng.random() < 0.25:
        data = gzip.compress(data, 1)
        if rng.random() < 0.5:
            data = rng.choice(_BYTES)(rng, data)
    return data


def _tar(rng: random.Random) -> bytes:
    members: list[tarfile.TarInfo | tuple[str, bytes]] = []
    pattern = rng.choice(NAMES)
    for number in range(rng.randint(0, 6)):
        for extension in rng.sample(["jpg", "PNG", "txt", "json", "cls", "pkl"], rng.randint(1, 3)):
            content = rng.choice(IMAGES) if extension in ("jpg", "PNG") else rng.randbytes(rng.choice([0, 9, 700]))
            if rng.random() < 0.2:
                content = _flip(rng, content) if rng.random() < 0.5 else content[: rng.randint(0, len(content))]
            members.append((pattern.format(i=number, e=extension), content))
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        rng.choice(_MEMBERS)(rng, members)
    format = rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    try:
        return _write(members, format)
    except (ValueError, UnicodeEncodeError):
        return _write(members, tarfile.GNU_FORMAT)


def _write(members: list[tarfile.TarInfo | tuple[str, bytes]], format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, errors="surrogateescape") as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            content = b"" if isinstance(member, tarfile.TarInfo) else member[1]
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


Members = list["tarfile.TarInfo | tuple[str, bytes]"]


def _special(rng: random.Random, members: Members) -> None:
    info = tarfile.TarInfo(rng.choice(["000.jpg", "x.jpg", "d", "/dev/sda.jpg"]))
    info.type = rng.choice([tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"V"])
    info.linkname = rng.choice(["", "../../../etc/passwd", "000.jpg"])
    members.insert(rng.randint(0, len(members)), info)


def _pax(rng: random.Random, members: Members) -> None:
    info = tarfile.TarInfo(rng.choice(["000.jpg", "y.jpg"]))
    records = [
        {"path": "p/q.jpg"},
        {"size": "99999999"},
        {"comment": "c" * 5000},
        {"GNU.sparse.major": "1"},
        {"path": "é/\n.jpg"},
    ]
    info.pax_headers = rng.choice(records)
    members.insert(rng.randint(0, len(members)), info)


def _interleave(rng: random.Random, members: Members) -> None:
    rng.shuffle(members)


def _duplicate(rng: random.Random, members: Members) -> None:
    if members:
        members.insert(rng.randint(0, len(members)), rng.choice(members))


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8]) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _cut_at_block(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data) // 512) * 512]


def _flip_header(rng: random.Random, data: bytes) -> bytes:
    """Another value somewhere in a header block, its checksum made right, so that the parser gets to see it."""
    starts = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    if not starts:
        return data
    at = rng.choice(starts)
    header = bytearray(data[at : at + 512])
    place = rng.choice([rng.randrange(512), 156, 124, rng.randrange(124, 136), rng.randrange(100)])
    header[place] = rng.choice([rng.randrange(256), *b"\0 /.7xgLKSV1", 0x80, 0xFF])
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:at] + bytes(header) + data[at + 512 :]


def _drop_block(rng: random.Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data) // 512) * 512
    return data[:at] + data[at + 512 :]


def _repeat_blocks(rng: random.Random, data: bytes) -> bytes:
    at, count = rng.randint(0, len(data) // 512) * 512, rng.randint(1, 6) * 512
    return data[: at + count] + data[at : at + count] + data[at + count :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data) // 512) * 512
    piece = rng.choice(
        [bytes(512), bytes(1024), rng.randbytes(512), rng.randbytes(7), b"progress: 10%\n", bytes(700_000)]
    )
    return data[:at] + piece + data[at:]


def _append(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice([b"\n", bytes(100_000), data, rng.randbytes(1000)])


def _huge(rng: random.Random, data: bytes) -> bytes:
    """The first member says that it has gigabytes."""
    header = bytearray(data[:512])
    if len(header) < 512:
        return data
    header[124:136] = rng.choice([b"\x80" + rng.getrandbits(60).to_bytes(11, "big"), b"77777777777\0", b"\xff" * 12])
    header[156:157] = rng.choice([b"0", b"x", b"L", b"g", b"S"])
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


def _bomb(rng: random.Random, data: bytes) -> bytes:
    return data[:512] + bytes(rng.choice([1 << 20, 8 << 20])) + data[512:]


_MEMBERS: list[Callable[[random.Random, Members], None]] = [_special, _special, _pax, _interleave, _duplicate]
_BYTES: list[Callable[[random.Random, bytes], bytes]] = [
    _flip,
    _cut,
    _cut_at_block,
    _flip_header,
    _flip_header,
    _flip_header,
    _drop_block,
    _repeat_blocks,
    _insert,
    _append,
    _huge,
    _bomb,
]
