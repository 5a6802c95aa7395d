"""Tar headers (ustar, pax, GNU) to members, and the end-of-archive marker as the only end. Knows no samples or keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from curator.shards.tape import Damage, Tape

BLOCK: Final = 512
_ZEROS: Final = bytes(BLOCK)
_MAX_EXTENSION_BYTES: Final = 1 << 20
_MAX_EXTENSIONS: Final = 8
_MAX_PADDING_BYTES: Final = 64 << 20
_REWRITE: Final = "write the shard again, or keep its whole samples with --salvage"

Kind: TypeAlias = Literal["file", "sparse", "directory", "link", "device", "other"]
_KINDS: Final[dict[bytes, Kind]] = {
    **dict.fromkeys((b"0", b"\0", b"7"), "file"),
    b"S": "sparse",
    b"5": "directory",
    **dict.fromkeys((b"1", b"2"), "link"),
    **dict.fromkeys((b"3", b"4", b"6"), "device"),
}
_WITHOUT_CONTENT: Final = frozenset({"directory", "link", "device"})


class Member(NamedTuple):
    """One entry of the tar: ``size`` bytes of content begin at byte ``offset`` of the decompressed tar."""

    name: str
    kind: Kind
    size: int
    offset: int


def members(tape: Tape) -> Iterator[Member]:
    """Every member in order. The consumer takes up to ``size`` bytes of content from ``tape``; the rest is skipped.

    Returns only at the end-of-archive marker (two blocks of zeros) followed by nothing but zeros; raises ``Damage``
    at anything else that is not a valid header.
    """
    name: str | None = None
    size: int | None = None
    sparse = False
    extensions = 0
    while True:
        begin = tape.offset
        header = tape.take(BLOCK, "a tar header (the end-of-archive marker is missing)")
        if header == _ZEROS:
            if extensions:
                raise Damage(begin, f"an extended header at byte {begin} has no member", _REWRITE)
            _end(tape)
            return
        _check(header, begin)
        stated = _number(header[124:136], begin)
        flag = header[156:157]
        if flag in b"LKxXg":
            stored = _extension(tape, stated, begin)
            content = stored[:stated]
            if flag == b"g":
                _refuse_global(content, begin)
                continue
            extensions += 1
            if extensions > _MAX_EXTENSIONS:
                raise Damage(begin, f"more than {_MAX_EXTENSIONS} extended headers before one member", _REWRITE)
            if flag == b"L":
                if stored[stated:].strip(b"\0"):
                    raise Damage(begin, f"the long name at byte {begin} goes on after its end", _REWRITE)
                name = _text(content.split(b"\0", 1)[0]) if name is None else name
            elif flag != b"K":
                records = _pax(content, begin)
                path = records.get(b"GNU.sparse.name", records.get(b"path"))
                if path is not None and name is None:
                    name = _text(path).rstrip("/")
                if b"size" in records and size is None:
                    size = _decimal(records[b"size"], begin)
                sparse = sparse or any(keyword.startswith(b"GNU.sparse.") for keyword in records)
            continue
        kind = _KINDS.get(flag, "other")
        short = _name(header)
        if flag == b"\0" and short.endswith("/"):
            kind = "directory"
        if flag == b"S":
            _skip_sparse_maps(tape, header)
        length = 0 if kind in _WITHOUT_CONTENT else stated if size is None else size
        member = Member(short if name is None else name, "sparse" if sparse else kind, length, tape.offset)
        yield member
        after = member.offset + -(-length // BLOCK) * BLOCK
        if tape.offset < after:
            tape.skip(after - tape.offset, f"member {member.name!r}")
        name, size, sparse, extensions = None, None, False, 0


def _check(header: bytes, begin: int) -> None:
    field = header[148:156]
    stated = _number(field, begin)
    if stated == sum(header) - sum(field) + 8 * 0x20:
        return
    signed = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + header[156:]) + 8 * 0x20
    if stated != signed:
        raise _no_header(header, begin, "its checksum is wrong")


def _number(field: bytes, begin: int) -> int:
    if field[0] >= 0x80:
        if field[0] != 0x80:
            raise Damage(begin, f"the tar header at byte {begin} has a negative number", _REWRITE)
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b"\0 ").lstrip()
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise _no_header(field, begin, f"{digits!r} is no octal number")
    return int(digits, 8)


def _no_header(found: bytes, begin: int, why: str) -> Damage:
    if begin == 0:
        return Damage(0, f"not a tar or tar.gz: {why}", "shards are tar, tar.gz or tgz; pack the data as one of these")
    return Damage(begin, f"no tar header at byte {begin}: {why}", _REWRITE)


def _extension(tape: Tape, size: int, begin: int) -> bytes:
    if size > _MAX_EXTENSION_BYTES:
        limit = _MAX_EXTENSION_BYTES
        raise Damage(begin, f"the extended header at byte {begin} has {size} bytes, more than {limit}", _REWRITE)
    return tape.take(-(-size // BLOCK) * BLOCK, "an extended header")


def _pax(content: bytes, begin: int) -> dict[bytes, bytes]:
    """POSIX.1-2001 pax records ``"%d %s=%s\\n"``; only those that say where a member ends and what it is called."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(content) and content[position]:
        space = content.find(b" ", position, position + 20)
        digits = content[position:space] if space > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        keyword, equals, value = content[space + 1 : end - 1].partition(b"=")
        if end > len(content) or end <= space or content[end - 1 : end] != b"\n" or not keyword or not equals:
            raise Damage(begin, f"the pax header at byte {begin} is malformed", _REWRITE)
        if keyword in (b"path", b"size") or keyword.startswith(b"GNU.sparse."):
            records[keyword] = value
        position = end
    return records


def _refuse_global(content: bytes, begin: int) -> None:
    if records := _pax(content, begin):
        names = ", ".join(sorted(_text(keyword) for keyword in records))
        raise Damage(begin, f"a global pax header sets {names} for every member", "repack with tar --format=ustar")


def _decimal(digits: bytes, begin: int) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise Damage(begin, f"the pax header at byte {begin} gives the size {digits[:40]!r}", _REWRITE)
    return int(digits)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:265] != b"ustar  \0" and header[345]:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return _text(name)


def _text(raw: bytes) -> str:
    """UTF-8. Where a name is not, its odd bytes become ``\\xNN`` and its backslashes double: valid in Parquet."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.replace(b"\\", b"\\\\").decode(errors="backslashreplace")


def _skip_sparse_maps(tape: Tape, header: bytes) -> None:
    more = header[482]
    while more:
        more = tape.take(BLOCK, "a sparse map")[504]


def _end(tape: Tape) -> None:
    marker = tape.offset - BLOCK
    if tape.take(BLOCK, "the end-of-archive marker") != _ZEROS:
        raise Damage(marker, f"a lone block of zeros at byte {marker} where a tar header should be", _REWRITE)
    while rest := tape.rest():
        if rest.count(0) != len(rest):
            problem = f"data follow the end-of-archive marker at byte {marker}"
            raise Damage(
                marker,
                problem,
                "pack what follows as a shard of its own (tars cannot be joined with cat)",
                complete=True,
            )
        if tape.offset - marker > _MAX_PADDING_BYTES:
            problem = f"more than {_MAX_PADDING_BYTES} bytes of padding follow the end-of-archive marker"
            raise Damage(marker, problem, _REWRITE, complete=True)
