"""Captions in files of several kinds: which files an input names, how a large one is cut into leases, and reading one.

Owns the names of leases (``URL#bytes=0-1048576``, ``URL#groups=0-8``). Knows no encoder and no bank.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator.data import Sample, Shard
from curator.errors import ConfigError, ShardError
from curator.shards.manifest import SHARD_SUFFIXES, expand
from curator.shards.reader import read_samples
from curator.storage import Entry, ReadStream, Storage, redact
from curator.storage.resume import resuming
from curator.storage.urls import is_remote
from curator.tables.ranged import RangedFile

_TEXT: Final = (".txt", ".txt.gz")
_PARQUET: Final = (".parquet",)
_SUFFIXES: Final = (*_PARQUET, *_TEXT, *SHARD_SUFFIXES)
_LEASE = re.compile(r"(?s)(.*)#(bytes|groups)=(\d+)-(\d+)")
_CHUNK_BYTES: Final = 2**20
_MOST_BYTES: Final = 2**20
"""Of one caption; what is longer is no caption, and a file without line breaks must not fill the memory."""
_READ_AHEAD_PARTS: Final = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """How captions are found: ``column`` of a Parquet file, ``member`` of a sample (an extension or ``json.FIELD``)."""

    column: str = "caption"
    member: str = "txt"


def leases(inputs: Sequence[str], storage: Storage, reading: Reading, *, lease_bytes: int) -> Iterator[Shard]:
    """The leases of all files that ``inputs`` name, in order: a file, or runs of about ``lease_bytes`` of a large one.

    Text is cut by bytes (a line belongs to the lease that it begins in), Parquet by row groups; a gzipped text and a
    shard cannot be cut. Every lease carries size and ETag of its file. ConfigError for what is no file of captions.
    """
    for source in expand(inputs, storage, suffixes=_SUFFIXES):
        name = source.url.lower()
        if "#" in source.url.rpartition("/")[2]:
            raise ConfigError(f"{redact(source.url)}: a '#' in the name would be taken for a part of a file; rename it")
        if not name.endswith(_SUFFIXES):
            raise ConfigError(f"{redact(source.url)}: no file of captions; these are *{', *'.join(_SUFFIXES)}")
        if source.size is None:
            entry = storage.stat(source.url)
            source = Shard(entry.url, entry.size, entry.etag)
        size = source.size or 0
        if size <= lease_bytes or not name.endswith((".txt", *_PARQUET)):
            yield source
        elif name.endswith(".txt"):
            for start in range(0, size, lease_bytes):
                yield Shard(f"{source.url}#bytes={start}-{min(size, start + lease_bytes)}", size, source.etag)
        else:
            for first, last in _group_runs(source, storage, reading.column, lease_bytes):
                yield Shard(f"{source.url}#groups={first}-{last}", size, source.etag)


def _group_runs(source: Shard, storage: Storage, column: str, lease_bytes: int) -> Iterator[tuple[int, int]]:
    """Runs [first, last) of row groups whose captions together have about ``lease_bytes`` uncompressed."""
    with _parquet(Entry(source.url, source.size or 0, source.etag or ""), storage) as file:
        leaf = _leaf(file, source.url, column)
        first, held = 0, 0
        for group in range(file.num_row_groups):
            held += file.metadata.row_group(group).column(leaf).total_uncompressed_size
            if held >= lease_bytes or group + 1 == file.num_row_groups:
                yield first, group + 1
                first, held = group + 1, 0


def file_of(lease_url: str) -> str:
    """The url of the file that a lease is of."""
    cut = _LEASE.fullmatch(lease_url)
    return cut[1] if cut else lease_url


def captions(lease_url: str, entry: Entry, storage: Storage, reading: Reading) -> Iterator[str | None]:
    """The captions of one lease in order, as they stand there; None where a row or sample has none.

    ``entry`` is the file's. Raises ShardError for a file that is not what its name says, or has no such column.
    """
    cut = _LEASE.fullmatch(lease_url)
    start, stop = (int(cut[3]), int(cut[4])) if cut else (0, None)
    name = entry.url.lower()
    if name.endswith(_PARQUET):
        return _rows(entry, storage, reading.column, start, stop)
    if name.endswith(_TEXT):
        return _lines(entry, storage, start, stop)
    return _members(entry, storage, reading.member)


def _lines(entry: Entry, storage: Storage, start: int, stop: int | None) -> Iterator[str]:
    """The lines that begin in [start, stop): one that ends beyond is read whole, one that began before is not ours."""
    before = 1 if start else 0  # the byte before tells whether a line begins at ``start``
    with contextlib.closing(_open(entry, storage, start - before)) as stream:
        chunks = _gunzip(stream, entry.url) if entry.url.lower().endswith(".gz") else _chunks(stream)
        position, first = start - before, bool(before)
        for line, size in _split(chunks, entry.url):
            if stop is not None and position >= stop:
                return
            position += size
            if not first:
                yield line.decode("utf-8-sig", "replace")
            first = False


def _split(chunks: Iterator[bytes], url: str) -> Iterator[tuple[bytes, int]]:
    """Lines without their end, and how many bytes each took. Only a line feed ends one, as in every cut of the file."""
    rest = b""
    for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line, len(line) + 1
        if len(rest) > _MOST_BYTES:
            raise ShardError(
                f"{redact(url)}: a line of more than {_MOST_BYTES} bytes; give a text with a caption a line"
            )
    if rest:
        yield rest, len(rest)


def _chunks(stream: ReadStream) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def _gunzip(stream: ReadStream, url: str) -> Iterator[bytes]:
    """The content of a gzip of one member or several. A bomb does no harm: no more than a chunk is held."""
    inflate, pending = zlib.decompressobj(31), b""
    try:
        while pending or (pending := stream.read(_CHUNK_BYTES)):
            if inflate.eof:
                inflate = zlib.decompressobj(31)
            yield inflate.decompress(pending, _CHUNK_BYTES)
            pending = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        while not inflate.eof and (chunk := inflate.decompress(b"", _CHUNK_BYTES)):
            yield chunk
    except zlib.error as error:
        raise ShardError(f"{redact(url)}: is not readable as gzip ({error})") from error
    if not inflate.eof:
        raise ShardError(f"{redact(url)}: the gzip is cut; make it again")


def _open(entry: Entry, storage: Storage, offset: int) -> ReadStream:
    ahead = _READ_AHEAD_PARTS if is_remote(entry.url) and not offset else 0
    return resuming(storage, entry, offset=offset, read_ahead_parts=ahead)


def _rows(entry: Entry, storage: Storage, column: str, first: int, last: int | None) -> Iterator[str | None]:
    with _parquet(entry, storage) as file:
        _leaf(file, entry.url, column)
        for group in range(first, file.num_row_groups if last is None else last):
            for batch in file.iter_batches(row_groups=[group], columns=[column]):
                values = batch.column(0)
                while pa.types.is_struct(values.type):  # a leaf by its dotted path: every level holds only this
                    values = pc.struct_field(values, [0])
                if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
                    raise ShardError(f"{redact(entry.url)}: column {column!r} holds {values.type}, not text")
                yield from values.to_pylist()


@contextlib.contextmanager
def _parquet(entry: Entry, storage: Storage) -> Iterator[Any]:
    try:
        file = pq.ParquetFile(pa.PythonFile(RangedFile(storage, entry), mode="r"), pre_buffer=True)
        try:
            yield file
        finally:
            file.close(force=True)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{redact(entry.url)}: is not readable as Parquet ({error})") from error


def _leaf(file: Any, url: str, column: str) -> int:
    """The number of the leaf column ``column``, or ShardError with the columns that there are."""
    paths = [file.metadata.schema.column(number).path for number in range(file.metadata.num_columns)]
    if column not in paths:
        raise ShardError(
            f"{redact(url)}: has no column {column!r}, it has {', '.join(paths)}; choose one with --column"
        )
    return paths.index(column)


def _members(entry: Entry, storage: Storage, member: str) -> Iterator[str | None]:
    with contextlib.closing(_open(entry, storage, 0)) as stream:
        for sample in read_samples(stream, url=entry.url):
            yield _caption(sample, member)


def _caption(sample: Sample, member: str) -> str | None:
    if not member.startswith("json."):
        text = sample.fields.get(member)
        return None if text is None or len(text) > _MOST_BYTES else text.decode("utf-8-sig", "replace")
    try:
        value = json.loads(sample.fields.get("json", b"{}")).get(member.removeprefix("json."))
    except (ValueError, AttributeError, RecursionError):
        return None
    return value if isinstance(value, str) else None
