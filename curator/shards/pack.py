"""A folder of images to shards: which files make which sample, and the tars that hold them. Decodes no image.

A sample is an image with the captions (``.txt``) and metadata (``.json``) of the same name. Everything follows from the
listing, so that packing again writes only what has changed since.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from curator.data import IMAGE_EXTENSIONS
from curator.errors import ConfigError, NotFoundError
from curator.storage.base import Entry, Storage
from curator.storage.urls import absolute, is_path, join, redact

SIDECARS: Final = ("txt", "json")
_RECORDS: Final = "_pack"
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
    """What packing did. ``skipped`` counts the files that are no image and belong to none, by extension."""

    shards: int = 0
    written: int = 0
    samples: int = 0
    bytes: int = 0
    captions: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, extension: str) -> None:
        self.skipped[extension] = self.skipped.get(extension, 0) + 1


def pack(
    folder: str,
    output: str,
    storage: Storage,
    *,
    max_samples: int = 1000,
    max_bytes: int = 256 << 20,
    observe: Callable[[Packed], None] = lambda packed: None,
) -> Packed:
    """Write the images below ``folder`` as shards ``output/000000.tar`` and so on, in order of path.

    A shard ends at ``max_samples`` or before it would exceed ``max_bytes``. Shards that are there and hold the same
    files are left alone; older ones beyond the last are a ConfigError, as is a folder without images.
    """
    folder, output = absolute(folder).rstrip("/"), absolute(output).rstrip("/")
    if f"{output}/".startswith(f"{folder}/"):
        raise ConfigError(f"{redact(output)}: shards cannot stand among the images of {redact(folder)}; choose another")
    if max_samples < 1 or max_bytes < 1:
        raise ConfigError(f"a shard of at most {max_samples} samples and {max_bytes} bytes holds nothing; give more")
    packed = Packed()
    sources = list(_sources(folder, storage, packed))
    if not sources:
        found = ", ".join(f"{n} *{'.' if name else ''}{name}" for name, n in sorted(packed.skipped.items())[:5])
        raise ConfigError(
            f"{redact(folder)}: holds no image ({found or 'it is empty or not there'}); images are "
            f"*.{', *.'.join(sorted(IMAGE_EXTENSIONS))}"
        )
    shards = list(_shards(sources, max_samples, max_bytes))
    _refuse_others(output, storage, len(shards))
    for number, samples in enumerate(shards):
        name = f"{number:06d}.tar"
        record = join(output, _RECORDS, f"{name}.json")
        digest = _digest(samples)
        if not _is_there(join(output, name), record, digest, storage):
            _write(join(output, name), samples, storage)
            storage.write(record, json.dumps({"sources": digest, "samples": len(samples)}).encode())
            packed.written += 1
        packed.shards += 1
        packed.samples += len(samples)
        packed.bytes += sum(sample.bytes for sample in samples)
        packed.captions += sum(any(extension == "txt" for extension, _ in sample.members) for sample in samples)
        observe(packed)
    return packed


def _sources(folder: str, storage: Storage, packed: Packed) -> Iterator[Source]:
    """The samples below a folder, in order of path. Names that begin with ``_`` or ``.`` are not looked at."""
    images: list[tuple[str, str, Entry]] = []
    sidecars: dict[tuple[str, str], Entry] = {}
    for entry in storage.list(f"{folder}/"):
        path = entry.url[len(folder) + 1 :]
        if any(step.startswith(("_", ".")) for step in path.split("/")):
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
    keys: dict[str, str] = {}
    for path, stem, entry in images:
        extension = _split(path)[1]
        key = _key(stem) if alike[_key(stem)] == 1 else f"{_key(stem)}_{extension}"
        if (other := keys.setdefault(key, path)) != path:
            raise ConfigError(f"{redact(folder)}: {other!r} and {path!r} would both be sample {key!r}; rename one")
        own = [(each, sidecars[stem, each]) for each in SIDECARS if (stem, each) in sidecars]
        used.update((stem, each) for each, _ in own)
        yield Source(key, path, ((extension, entry), *own))
    for _, extension in sorted(sidecars.keys() - used):
        packed.skip(extension)


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


def _refuse_others(output: str, storage: Storage, shards: int) -> None:
    names = {f"{number:06d}.tar" for number in range(shards)}
    for entry in storage.list(f"{output}/"):
        name = entry.url[len(output) + 1 :]
        if name.endswith(".tar") and "/" not in name and name not in names:
            raise ConfigError(f"{redact(entry.url)}: is no shard of these images; give an empty output, or remove it")


def _digest(samples: Sequence[Source]) -> str:
    told = [
        [sample.key, sample.path, [[extension, entry.size, entry.etag] for extension, entry in sample.members]]
        for sample in samples
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _is_there(shard: str, record: str, digest: str, storage: Storage) -> bool:
    try:
        storage.stat(shard)
        return bool(json.loads(storage.read(record))["sources"] == digest)
    except (NotFoundError, ValueError, KeyError):
        return False


def _write(url: str, samples: Sequence[Source], storage: Storage) -> None:
    upload = storage.upload(url)
    try:
        for sample in samples:
            for extension, entry in sample.members:
                _member(upload.write, f"{sample.key}.{extension}", storage.read(entry.url))
            if "json" not in dict(sample.members):
                whence = {"path": sample.path, "folder": sample.path.rpartition("/")[0].rpartition("/")[2]}
                _member(upload.write, f"{sample.key}.json", json.dumps(whence).encode())
        upload.write(_END)
        upload.commit()
    finally:
        upload.abort()


def _member(write: Callable[[bytes], int], name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
    write(data)
    write(bytes(-len(data) % tarfile.BLOCKSIZE))


def is_image(url: str) -> bool:
    """Whether a file is an image by its name."""
    return _split(url)[1] in IMAGE_EXTENSIONS


def holds_images(url: str, storage: Storage) -> bool:
    """Whether ``url`` is an image, or a local folder with one: what a user may take for shards."""
    if is_image(url):
        return True
    return is_path(url) and any(is_image(entry.url) for entry in storage.list(f"{absolute(url)}/"))
