"""A tar stream to Samples by webdataset's key rule, every deviation a verdict. Knows no image and no network."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

from curator.data import IMAGE_EXTENSIONS, Reject, Sample
from curator.errors import ConfigError, ShardError
from curator.shards.headers import Member, members
from curator.shards.keys import SeenKeys
from curator.shards.tape import Damage, Tape
from curator.storage.urls import redact

if TYPE_CHECKING:
    from curator.storage.base import ReadStream, Storage

# webdataset's rules: `dir.d/a.b.jpg` is key `dir.d/a` with extension `b.jpg`; a top-level `__name__` is metadata.
_SPLIT: Final = re.compile(r"((?:.*/)?[^.]+)\.([^/]*)")
_META: Final = re.compile(r"__[^/]*__($|/)")
_OVERHEAD_BYTES: Final = 512
_SORT: Final = "repack with each sample's members once and together (tar --sort=name)"


def read_samples(
    source: str | os.PathLike[str] | ReadStream | BinaryIO,
    *,
    url: str | None = None,
    storage: Storage | None = None,
    salvage: bool = False,
    image: str = "",
    max_member_bytes: int = 128 << 20,
    max_sample_bytes: int = 256 << 20,
) -> SampleReader:
    """The samples of one shard, tar or tar.gz, in order and in memory bounded by ``max_sample_bytes``.

    ``source`` is a path or url (opened through ``storage``, by default one for every scheme) or an open stream, which
    stays the caller's to close; ``url`` names it in messages. A member over ``max_member_bytes`` is passed over and its
    sample carries a ``fault``; so does a sample whose members together exceed ``max_sample_bytes``. ``image`` names the
    image of samples that have several, by its extension (``png``, ``left.jpg``); otherwise it is the first.

    The iterator raises ``ShardError`` with shard, key and byte offset where the tar is cut, is no tar, ends without its
    end-of-archive marker, or has members of one sample apart or twice. With ``salvage`` a damaged tar ends the
    iteration instead, after the last whole sample, and the iterator's ``salvaged`` says what was lost.
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str) and not hasattr(source, "read"):
        raise ConfigError(f"read_samples takes one path, url or open stream, not {source!r:.60}")
    chosen = image.lower().removeprefix(".")
    return SampleReader(source, url, storage, salvage, chosen, max_member_bytes, max_sample_bytes)


class SampleReader(Iterator[Sample]):
    """Iterator over the samples of a shard; closes what it opened at the end, on an error, and on ``close``.

    ``salvaged`` is None, or what a salvage lost. ``skipped`` counts members that belong to no sample, by why:
    directory, link, device, other (types without content for us), meta (``__name__``), no_key (no extension).
    ``several_images`` counts samples with images that are not looked at, beside the one that is.
    """

    def __init__(
        self,
        source: str | ReadStream | BinaryIO,
        url: str | None,
        storage: Storage | None,
        salvage: bool,
        image: str,
        max_member_bytes: int,
        max_sample_bytes: int,
    ) -> None:
        self.url = url or (source if isinstance(source, str) else "<stream>")
        self.salvaged: str | None = None
        self.skipped: Counter[str] = Counter()
        self.several_images = 0
        self._salvage = salvage
        self._image = image
        self._max_member_bytes = max_member_bytes
        self._max_sample_bytes = max_sample_bytes
        self._opened: ReadStream | None = None
        if isinstance(source, str):
            source = self._opened = _storage(storage).open(source)
        self._samples = self._read(source)

    def __next__(self) -> Sample:
        try:
            sample = next(self._samples)
        except BaseException:
            self.close()
            raise
        self.several_images += bool(sample.other_images)
        return sample

    def __enter__(self) -> SampleReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration and close the stream if this reader opened it. Harmless when called twice."""
        self._samples.close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _read(self, stream: ReadStream | BinaryIO) -> Generator[Sample, None, None]:
        draft: _Draft | None = None
        seen = SeenKeys()
        index = 0
        try:
            tape = Tape(stream)
            for member in members(tape):
                if (split := self._split(member)) is None:
                    continue
                key, extension = split
                if draft is None or key != draft.key:
                    if draft is not None:
                        yield draft.sample(index)
                        index += 1
                    if key in seen:
                        raise self._error(key, member.offset, "its members are not contiguous", _SORT)
                    seen.add(key)
                    draft = _Draft(key, member.offset, self._image)
                if extension in draft.fields or extension in draft.dropped:
                    raise self._error(key, member.offset, f"member {member.name!r} comes twice", _SORT)
                draft.place(extension, member.offset)
                draft.bytes += len(extension) + _OVERHEAD_BYTES
                if reject := self._refuse(draft, member):
                    draft.drop(extension, reject)
                else:
                    draft.bytes += member.size
                    draft.fields[extension] = tape.take(member.size, f"member {member.name!r}")
        except Damage as damage:
            kept = index + (damage.complete and draft is not None)
            key_lost = None if draft is None or damage.complete else draft.key
            lost = "" if key_lost is None else f" (in or after sample {key_lost!r})"
            if not self._salvage:
                raise ShardError(f"{redact(self.url)}: {damage.problem}{lost}; {damage.way_out}") from None
            self.salvaged = f"{damage.problem}{lost}; {kept} whole samples before it are kept"
            if not damage.complete:
                return
        if draft is not None:
            yield draft.sample(index)

    def _split(self, member: Member) -> tuple[str, str] | None:
        if member.kind not in ("file", "sparse"):
            self.skipped[member.kind] += 1
            return None
        if _META.match(member.name):
            self.skipped["meta"] += 1
            return None
        split = _SPLIT.fullmatch(member.name)
        if split is None:
            self.skipped["no_key"] += 1
            return None
        return split[1], split[2].lower()

    def _refuse(self, draft: _Draft, member: Member) -> Reject | None:
        if draft.bytes > self._max_sample_bytes:
            return self._too_large(member)
        if member.kind == "sparse":
            return Reject("sparse_member", f"{member.name!r} is stored with holes; repack without tar --sparse")
        if member.size > self._max_member_bytes:
            limit = self._max_member_bytes
            return Reject("member_too_large", f"{member.name!r} has {member.size} bytes, more than {limit}")
        if draft.bytes + member.size > self._max_sample_bytes:
            return self._too_large(member)
        return None

    def _too_large(self, member: Member) -> Reject:
        limit = self._max_sample_bytes
        return Reject("sample_too_large", f"the members up to {member.name!r} have more than {limit} bytes")

    def _error(self, key: str, offset: int, problem: str, way_out: str) -> ShardError:
        return ShardError(f"{redact(self.url)}: sample {key!r}: {problem} (byte {offset}); {way_out}")


class _Draft:
    """A sample whose members are still coming."""

    def __init__(self, key: str, offset: int, image: str) -> None:
        self.key = key
        self.fields: dict[str, bytes] = {}
        self.dropped: set[str] = set()
        self.bytes = 0
        self._offset = offset
        self._image = image
        self._placed = False
        self._fault: Reject | None = None

    def place(self, extension: str, offset: int) -> None:
        if not self._placed and (extension == self._image if self._image else extension in IMAGE_EXTENSIONS):
            self._offset, self._placed = offset, True

    def drop(self, extension: str, why: Reject) -> None:
        """Leave a member out: the sample stays, with the first reason as its fault."""
        if why.reason != "sample_too_large":
            self.dropped.add(extension)
        self._fault = self._fault or why

    def sample(self, index: int) -> Sample:
        return Sample(self.key, index, self._offset, self.fields, self._fault, self._image)


def _storage(given: Storage | None) -> Storage:
    if given is not None:
        return given
    from curator.storage import open_storage

    return open_storage()
