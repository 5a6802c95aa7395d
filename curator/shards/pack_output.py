"""The shards that packing wrote: a record of each, by which a tar is known as its own. Knows no image and no folder.

A record holds the size, the etag and the SHA-256 of its tar: one that was copied with its record is still known, one
that was changed or put in its place is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from curator.errors import ConfigError, NotFoundError
from curator.storage.base import Entry, Storage
from curator.storage.urls import join, redact

_RECORDS: Final = "_pack"
_FEW: Final = 5
_CHUNK: Final = 1 << 20


class Output:
    """The tars directly below a url, as they were when it was listed, and the records of those that packing wrote."""

    def __init__(self, url: str, storage: Storage) -> None:
        self.url = url
        self._storage = storage
        self._tars: dict[str, Entry] = {}
        for entry in storage.list(f"{url}/"):
            name = entry.url[len(url) + 1 :]
            if name.endswith(".tar") and "/" not in name:
                self._tars[name] = entry

    def holds(self, name: str, digest: str) -> bool:
        """Whether the tar is there and was made of what ``digest`` says."""
        return name in self._tars and self._record(name).get("sources") == digest

    def may_replace(self, name: str, size: Callable[[], int]) -> bool:
        """Whether writing the tar destroys nothing of others.

        One without a record that has the very size it shall have is what a call left that ended before the record.
        """
        if name not in self._tars or self._is_own(name):
            return True
        record = self._record(name)
        return ("sources" in record and "sha256" not in record) or self._tars[name].size == size()

    def leftover(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """The tars that are not in ``names``: those that packing provably wrote, and the others."""
        wanted = set(names)
        own: list[str] = []
        foreign: list[str] = []
        for name in self._tars:
            if name not in wanted:
                (own if self._is_own(name) else foreign).append(name)
        return own, foreign

    def record(self, name: str, entry: Entry, *, sources: str, samples: int, sha256: str) -> None:
        told = {"sources": sources, "samples": samples, "size": entry.size, "etag": entry.etag, "sha256": sha256}
        self._storage.write(self._record_url(name), json.dumps(told).encode())

    def remove(self, name: str) -> bool:
        """Remove a tar and its record, unless it is another one than was listed."""
        entry = self._tars[name]
        try:
            if self._storage.stat(entry.url).etag != entry.etag:
                return False
        except NotFoundError:
            return False
        self._storage.delete(entry.url)
        self._storage.delete(self._record_url(name))
        return True

    def refuse(self, folder: str, *, leftover: Sequence[str], foreign: Sequence[str]) -> None:
        """ConfigError that names all that is in the way at once, where something is."""
        wrong: list[str] = []
        if foreign:
            wrong.append(
                f"{_counted(foreign)} not known as written by pack, which never touches such: give an empty output, or "
                "move what is not pack's away"
            )
        if leftover:
            wrong.append(
                f"{_counted(leftover)} written by pack in an earlier call and no longer needed for {redact(folder)}: "
                "the same command with --prune removes what is no longer needed"
            )
        if wrong:
            raise ConfigError(f"{redact(self.url)}: holds {'; and '.join(wrong)}")

    def _is_own(self, name: str) -> bool:
        told, entry = self._record(name), self._tars[name]
        if "sha256" not in told or told.get("size") != entry.size:
            return False
        return bool(told.get("etag") == entry.etag or told["sha256"] == self._sha256(entry))

    def _sha256(self, entry: Entry) -> str:
        digest = hashlib.sha256()
        stream = self._storage.open(entry.url, etag=entry.etag)
        try:
            while data := stream.read(_CHUNK):
                digest.update(data)
        finally:
            stream.close()
        return digest.hexdigest()

    def _record(self, name: str) -> dict[str, Any]:
        try:
            told = json.loads(self._storage.read(self._record_url(name)))
        except (NotFoundError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def _record_url(self, name: str) -> str:
        return join(self.url, _RECORDS, f"{name}.json")


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} {'tar' if len(names) == 1 else 'tars'} ({few(names)})"
