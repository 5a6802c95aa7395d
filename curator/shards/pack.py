"""A folder of images to shards: which files make which sample, and the tars that hold them. Decodes no image.

A sample is an image with the captions (``.txt``) and metadata (``.json``) of the same name. Everything follows from the
listing, so that packing again writes only what has changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from curator.data import IMAGE_EXTENSIONS
from curator.errors import ConfigError
from curator.shards.pack_output import Output, few
from curator.storage.base import Entry, Storage
from curator.storage.urls import absolute, is_path, join, redact

SIDECARS: Final = ("txt", "json")
_FEW: Final = 5
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class Source:
    """One sample to be: its key, and its members by extension. ``path`` is the image's, below the folder."""

    key: str
    path: str
    members: tuple[tuple[str, Entry], ...]

    @property
    def bytes(self) -> int:
        return sum(entry.size for _, entry in self.members)


@dataclass(slots=True)
class Packed:
    """What packing did. ``skipped`` counts the files that are no image and belong to none, by extension.

    ``hidden`` counts the files that were not looked at, and ``dangling`` the links to nothing. ``pruned`` counts the
    shards of earlier calls that were removed.
    """

    shards: int = 0
    written: int = 0
    samples: int = 0
    bytes: int = 0
    captions: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    hidden: int = 0
    dangling: int = 0
    pruned: int = 0

    def skip(self, extension: str) -> None:
        self.skipped[extension] = self.skipped.get(extension, 0) + 1


def pack(
    folder: str,
    output: str,
    storage: Storage,
    *,
    max_samples: int = 1000,
    max_bytes: int = 256 << 20,
    prune: bool = False,
    observe: Callable[[Packed], None] = lambda packed: None,
) -> Packed:
    """Write the images below ``folder`` as shards ``output/000000.tar`` and so on, in order of path.

    A shard ends at ``max_samples`` or before it would exceed ``max_bytes``. Shards that are there and hold the same
    files are left alone. Those of earlier calls beyond the last are removed with ``prune``, once all others are
    written, and a ConfigError without; a tar that packing did not write is a ConfigError always, as is a folder without
    images.
    """
    folder, output = absolute(folder).rstrip("/"), absolute(output).rstrip("/")
    if f"{output}/".startswith(f"{folder}/"):
        raise ConfigError(f"{redact(output)}: shards cannot stand among the images of {redact(folder)}; choose another")
    if max_samples < 1 or max_bytes < 1:
        raise ConfigError(f"a shard of at most {max_samples} samples and {max_bytes} bytes holds nothing; give more")
    packed = Packed()
    sources = list(_sources(folder, storage, packed))
    if not sources:
        found = [f"{n} *{'.' if name else ''}{name}" for name, n in sorted(packed.skipped.items())[:_FEW]]
        found += [f"{packed.hidden} hidden, beginning with . or _"] if packed.hidden else []
        found += [f"{packed.dangling} links to nothing"] if packed.dangling else []
        raise ConfigError(
            f"{redact(folder)}: holds no image ({', '.join(found) or 'it is empty or not there'}); images are "
            f"*.{', *.'.join(sorted(IMAGE_EXTENSIONS))}"
        )
    shards = {f"{number:06d}.tar": samples for number, samples in enumerate(_shards(sources, max_samples, max_bytes))}
    there = Output(output, storage)
    digests = {name: _digest(samples) for name, samples in shards.items()}
    due = {name for name, digest in digests.items() if not there.holds(name, digest)}
    leftover, foreign = there.leftover(list(shards))
    foreign += [name for name in sorted(due) if not there.may_replace(name, partial(_size, shards[name]))]
    there.refuse(folder, leftover=[] if prune else leftover, foreign=sorted(foreign))
    for name, samples in shards.items():
        if name in due:
            entry, sha256 = _write(join(output, name), samples, storage)
            there.record(name, entry, sources=digests[name], samples=len(samples), sha256=sha256)
            packed.written += 1
        packed.shards += 1
        packed.samples += len(samples)
        packed.bytes += sum(sample.bytes for sample in samples)
        packed.captions += sum(any(extension == "txt" for extension, _ in sample.members) for sample in samples)
        observe(packed)
    packed.pruned = sum(there.remove(name) for name in leftover)
    return packed


def _sources(folder: str, storage: Storage, packed: Packed) -> Iterator[Source]:
    """The samples below a folder, in order of path. Names that begin with ``_`` or ``.`` are counted only."""
    packed.dangling = _dangling(folder, ()) if is_path(folder) else 0
    images: list[tuple[str, str, Entry]] = []
    sidecars: dict[tuple[str, str], Entry] = {}
    for entry in storage.list(f"{folder}/"):
        path = entry.url[len(folder) + 1 :]
        if any(step.startswith(("_", ".")) for step in path.split("/")):
            packed.hidden += 1
            continue
        stem, extension = _split(path)
        if extension in IMAGE_EXTENSIONS:
            images.append((path, stem, entry))
        elif extension in SIDECARS:
            sidecars[stem, extension] = entry
        else:
            packed.skip(extension)
    alike = Counter(_key(stem) for _, stem, _ in images)
    used: set[tuple[str, str]] = set()
    keys: dict[str, list[str]] = {}
    for path, stem, entry in images:
        extension = _split(path)[1]
        key = _key(stem) if alike[_key(stem)] == 1 else f"{_key(stem)}_{extension}"
        keys.setdefault(key, []).append(path)
        own = [(each, sidecars[stem, each]) for each in SIDECARS if (stem, each) in sidecars]
        used.update((stem, each) for each, _ in own)
        yield Source(key, path, ((extension, entry), *own))
    for _, extension in sorted(sidecars.keys() - used):
        packed.skip(extension)
    if shared := {key: paths for key, paths in keys.items() if len(paths) > 1}:
        raise ConfigError(f"{redact(folder)}: {_told(shared)}")


def _told(shared: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with keys that several images share: how many there are, and the first few."""
    told = []
    for key, paths in list(shared.items())[:_FEW]:
        names = [repr(path) for path in paths]
        who = f"{' and '.join(names)} would both" if len(names) == 2 else f"{few(names)} would all"
        told.append(f"{who} be sample {key!r}")
    if len(shared) == 1:
        return f"{told[0]}; rename all but one"
    more = f"; and {len(shared) - _FEW} more" if len(shared) > _FEW else ""
    return f"{len(shared)} samples would be several images each: {'; '.join(told)}{more}; rename all but one of each"


def _dangling(folder: str, ancestors: tuple[tuple[int, int], ...]) -> int:
    """How many links below a local folder lead to nothing: no listing shows them. A loop of links is walked once."""
    try:
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in ancestors:
            return 0
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:  # the listing says what is wrong with it
        return 0
    inside = (*ancestors, (stat.st_dev, stat.st_ino))
    return sum(
        _dangling(entry.path, inside) if entry.is_dir() else entry.is_symlink() and not os.path.exists(entry.path)
        for entry in found
    )


def _split(path: str) -> tuple[str, str]:
    """The path without its last extension, and that in lower case; empty where there is none."""
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return (path[: len(path) - len(extension) - 1], extension.lower()) if dot and stem else (path, "")


def _key(stem: str) -> str:
    """The sample's key: in a tar it ends at the first dot of the name, so that a name may hold none."""
    folder, slash, name = stem.rpartition("/")
    return f"{folder}{slash}{name.replace('.', '_')}"


def _shards(sources: Sequence[Source], max_samples: int, max_bytes: int) -> Iterator[list[Source]]:
    shard: list[Source] = []
    size = 0
    for source in sources:
        if shard and (len(shard) == max_samples or size + source.bytes > max_bytes):
            yield shard
            shard, size = [], 0
        shard.append(source)
        size += source.bytes
    yield shard


def _digest(samples: Sequence[Source]) -> str:
    told = [
        [sample.key, sample.path, [[extension, entry.size, entry.etag] for extension, entry in sample.members]]
        for sample in samples
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _members(samples: Sequence[Source]) -> Iterator[tuple[str, int, Entry | bytes]]:
    """The name, size and content of each member of a shard, in order."""
    for sample in samples:
        for extension, entry in sample.members:
            yield f"{sample.key}.{extension}", entry.size, entry
        if "json" not in dict(sample.members):
            whence = {"path": sample.path, "folder": sample.path.rpartition("/")[0].rpartition("/")[2]}
            data = json.dumps(whence).encode()
            yield f"{sample.key}.json", len(data), data


def _size(samples: Sequence[Source]) -> int:
    """The bytes of a shard, padding included."""
    return len(_END) + sum(len(_header(name, size)) + size + _padding(size) for name, size, _ in _members(samples))


def _write(url: str, samples: Sequence[Source], storage: Storage) -> tuple[Entry, str]:
    """Write a shard: what is there now, and its SHA-256."""
    upload, digest = storage.upload(url), hashlib.sha256()
    try:
        for name, _, content in _members(samples):
            data = content if isinstance(content, bytes) else storage.read(content.url)
            for part in (_header(name, len(data)), data, bytes(_padding(len(data)))):
                upload.write(part)
                digest.update(part)
        upload.write(_END)
        digest.update(_END)
        return upload.commit(), digest.hexdigest()
    finally:
        upload.abort()


def _header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def is_image(url: str) -> bool:
    """Whether a file is an image by its name."""
    return _split(url)[1] in IMAGE_EXTENSIONS


def holds_images(url: str, storage: Storage) -> bool:
    """Whether ``url`` is an image, or a local folder with one: what a user may take for shards."""
    if is_image(url):
        return True
    return is_path(url) and any(is_image(entry.url) for entry in storage.list(f"{absolute(url)}/"))
