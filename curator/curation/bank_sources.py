"""Captions in files of several kinds: which files an input names, how a large one is cut into leases, and reading one.

Owns the names of leases (``URL#bytes=0-1048576``, ``URL#groups=0-8``). Knows no encoder and no bank.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator.curation.bank_text import MOST_BYTES, UTF_8, Caption, Unusable, checked, decoded
from curator.data import Sample, Shard
from curator.errors import ConfigError, CuratorError, ShardError
from curator.kernels.fields import value_at
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
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_READ_AHEAD_PARTS: Final = 2
_TEXTUAL: Final = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


@dataclass(frozen=True, slots=True)
class Reading:
    """How captions are found: ``column`` of a Parquet file, ``member`` of a sample (an extension or ``json.FIELD``).

    ``encoding`` is that of text files and members, and of what is not UTF-8 where JSON and Parquet should be.
    """

    column: str = "caption"
    member: str = "txt"
    encoding: str = UTF_8

    @property
    def tried(self) -> tuple[str, ...]:
        """The encodings of what should be UTF-8, in order."""
        return tuple(dict.fromkeys((UTF_8, self.encoding)))


def leases(inputs: Sequence[str], storage: Storage, reading: Reading, *, lease_bytes: int) -> Iterator[Shard]:
    """The leases of all files that ``inputs`` name, in order: a file, or runs of about ``lease_bytes`` of a large one.

    Text is cut by bytes (a line belongs to the lease that it begins in), Parquet by row groups; a gzipped text and a
    shard cannot be cut. Every lease carries size and ETag of its file. ConfigError for what is no file of captions, and
    where the first Parquet file lacks the column: that is a wrong word, not a broken file.
    """
    unseen = True
    for source in _files(inputs, storage):
        name = source.url.lower()
        if "#" in source.url.rpartition("/")[2]:
            raise ConfigError(f"{redact(source.url)}: a '#' in the name would be taken for a part of a file; rename it")
        if not name.endswith(_SUFFIXES):
            raise _no_captions(source.url)
        if source.size is None:
            entry = storage.stat(source.url)
            source = Shard(entry.url, entry.size, entry.etag)
        size = source.size or 0
        if unseen and name.endswith(_PARQUET):
            unseen = False
            _require_column(source, storage, reading.column)
        if size <= lease_bytes or not name.endswith((".txt", *_PARQUET)):
            yield source
        elif name.endswith(".txt"):
            for start in range(0, size, lease_bytes):
                yield Shard(f"{source.url}#bytes={start}-{min(size, start + lease_bytes)}", size, source.etag)
        else:
            try:
                runs = list(_group_runs(source, storage, reading.column, lease_bytes))
            except ShardError:
                yield source  # whoever reads it meets the same fault, and tells of it as of that of any file
                continue
            for first, last in runs:
                yield Shard(f"{source.url}#groups={first}-{last}", size, source.etag)


def _files(inputs: Sequence[str], storage: Storage) -> list[Shard]:
    try:
        return expand(inputs, storage, suffixes=_SUFFIXES)
    except ConfigError:
        for given in inputs:  # a name that ends otherwise was taken for a directory's
            if _exists(given, storage):
                raise _no_captions(given) from None
        raise


def _exists(url: str, storage: Storage) -> bool:
    try:
        storage.stat(url)
    except CuratorError:
        return False
    return True


def _no_captions(url: str) -> ConfigError:
    these = f"these are *{', *'.join(_SUFFIXES)}"
    return ConfigError(f"{redact(url)}: no file of captions; {these}; make it a text with a caption a line")


def _require_column(source: Shard, storage: Storage, column: str) -> None:
    with contextlib.suppress(ShardError), _parquet(_entry(source), storage) as file:
        try:
            _leaf(file, source.url, column)
        except ShardError as error:
            raise ConfigError(str(error)) from error


def _entry(source: Shard) -> Entry:
    return Entry(source.url, source.size or 0, source.etag or "")


def _group_runs(source: Shard, storage: Storage, column: str, lease_bytes: int) -> Iterator[tuple[int, int]]:
    """Runs [first, last) of row groups whose captions together have about ``lease_bytes`` uncompressed."""
    with _parquet(_entry(source), storage) as file:
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


def captions(lease_url: str, entry: Entry, storage: Storage, reading: Reading) -> Iterator[Caption]:
    """The captions of one lease in order, as they stand there, with what takes the place of those that are none.

    ``entry`` is the file's. Raises ShardError for a file that is not what its name says, or has no such column.
    """
    cut = _LEASE.fullmatch(lease_url)
    start, stop = (int(cut[3]), int(cut[4])) if cut else (0, None)
    name = entry.url.lower()
    if name.endswith(_PARQUET):
        return _rows(entry, storage, reading, start, stop)
    if name.endswith(_TEXT):
        return _lines(entry, storage, reading.encoding, start, stop)
    return _members(entry, storage, reading)


def place_in(url: str, number: int) -> str:
    """What a user calls the caption ``number`` (from 1) of a file."""
    unit = "row" if url.lower().endswith(_PARQUET) else "line" if url.lower().endswith(_TEXT) else "sample"
    return f"{redact(url)} {unit} {number}"


def _lines(entry: Entry, storage: Storage, encoding: str, start: int, stop: int | None) -> Iterator[Caption]:
    """The lines that begin in [start, stop): one that ends beyond is read whole, one that began before is not ours."""
    before = 1 if start else 0  # the byte before tells whether a line begins at ``start``
    with contextlib.closing(_open(entry, storage, start - before)) as stream:
        chunks = _gunzip(stream, entry.url) if entry.url.lower().endswith(".gz") else _chunks(stream)
        position, first = start - before, bool(before)
        for line, size in _split(chunks, None if stop is None else stop - position):
            if stop is not None and position >= stop:
                return
            if not position and line.startswith(_UTF_16):
                raise ShardError(f"{redact(entry.url)}: begins as UTF-16 does; make it UTF-8: iconv -f UTF-16 -t UTF-8")
            position += size
            if not first:
                yield decoded(line, (encoding,))
            first = False


def _split(chunks: Iterator[bytes], wanted: int | None) -> Iterator[tuple[bytes, int]]:
    """Lines without their end, and how many bytes each took. Only a line feed ends one, as in every cut of the file.

    Of a line that is too long only the beginning is kept, and its end is looked for among the first ``wanted`` bytes.
    """
    rest, dropped, seen = b"", 0, 0
    for chunk in chunks:
        seen += len(chunk)
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line, dropped + len(line) + 1
            dropped = 0
        if len(rest) > MOST_BYTES:
            dropped += len(rest) - MOST_BYTES - 1
            rest = rest[: MOST_BYTES + 1]
            if wanted is not None and seen >= wanted:
                break
    if rest:
        yield rest, dropped + len(rest)


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


def _rows(entry: Entry, storage: Storage, reading: Reading, first: int, last: int | None) -> Iterator[Caption]:
    with _parquet(entry, storage) as file:
        _leaf(file, entry.url, reading.column)
        for group in range(first, file.num_row_groups if last is None else last):
            for batch in file.iter_batches(row_groups=[group], columns=[reading.column]):
                values = batch.column(0)
                while pa.types.is_struct(values.type):  # a leaf by its dotted path: every level holds only this
                    values = pc.struct_field(values, [0])
                if pa.types.is_dictionary(values.type):
                    values = values.dictionary_decode()
                if values.type not in _TEXTUAL:
                    raise ShardError(
                        f"{redact(entry.url)}: column {reading.column!r} holds {values.type}, not text; choose another "
                        "with --column"
                    )
                yield from _texts(values, reading.tried)


def _texts(values: pa.Array, encodings: Sequence[str]) -> Iterator[Caption]:
    """The texts of a column, which others than Arrow may have filled with bytes that are no UTF-8."""
    try:
        found = values.to_pylist()
    except UnicodeDecodeError:
        large = pa.types.is_large_string(values.type)
        found = values.cast(pa.large_binary() if large else pa.binary()).to_pylist()
    for value in found:
        yield None if value is None else checked(value) if isinstance(value, str) else decoded(value, encodings)


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


def _members(entry: Entry, storage: Storage, reading: Reading) -> Iterator[Caption]:
    with contextlib.closing(_open(entry, storage, 0)) as stream:
        for sample in read_samples(stream, url=entry.url):
            yield _caption(sample, reading)


def _caption(sample: Sample, reading: Reading) -> Caption:
    if not reading.member.startswith("json."):
        data = sample.fields.get(reading.member)
        return None if data is None else decoded(data, (reading.encoding,))
    text = decoded(sample.fields.get("json", b"{}"), reading.tried)
    if isinstance(text, Unusable):
        return text
    value = value_at(text, reading.member.split(".")[1:])
    return checked(value) if isinstance(value, str) else None
