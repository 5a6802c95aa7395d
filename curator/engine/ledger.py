"""What is done, what is given up and under which configuration: the run's small files beside its parts.

Owns the names and the JSON of ``_ledger/`` and knows no worker and no schedule. A shard is done exactly when its
receipt exists. A receipt's name carries the shard's id and the version (size and ETag) that was read, so that one
listing tells what is done and what has changed since: ``receipts/<shard id>-<version>.json``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from curator.data import Receipt, Shard
from curator.engine.differences import differences_of
from curator.engine.scheduler import Quarantine
from curator.errors import ConfigError, ExistsError, NotFoundError
from curator.storage import Storage, join
from curator.storage.urls import redact

_PARALLEL_READS = 16
_RECEIPT = {
    field.name for field in dataclasses.fields(Receipt) if field.default is field.default_factory is dataclasses.MISSING
}


def version_of(size: int | None, etag: str | None) -> str | None:
    """8 hexadecimal digits for one content of a shard; None where the manifest could not say (an explicit url)."""
    if size is None or etag is None:
        return None
    return hashlib.sha256(f"{size}\n{etag}".encode()).hexdigest()[:8]


class Ledger:
    """The ``_ledger`` directory of one output."""

    def __init__(self, storage: Storage, output: str) -> None:
        self._storage = storage
        self.output = output
        self.root = join(output, "_ledger")

    def _url(self, *names: str) -> str:
        return join(self.root, *names)

    # -- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any] | None:
        """What ``open_run`` recorded; None where no run has begun here."""
        return self._read_json(self._url("run.json"), {"digests", "config"})

    def begun(self) -> dict[str, Any]:
        """What ``open_run`` recorded. ConfigError where no run has begun here."""
        run = self.run()
        if run is None:
            raise ConfigError(f"{self.output}: no run has begun here (no _ledger/run.json); give the output of a run")
        return run

    def check_run(self, digests: Mapping[str, str], config: Mapping[str, Any]) -> None:
        """Refuse an output that was begun with another value of any of ``digests`` (name -> digest).

        The ConfigError names the settings that differ: rows of two configurations must not mix in one dataset.
        """
        recorded = self.run()
        if recorded is None:
            return
        known = recorded["digests"]
        changed = sorted(name for name, digest in digests.items() if known.get(name) != digest)
        if changed:
            differences = differences_of(recorded["config"], config, recorded.get("settings"))
            raise ConfigError(
                f"{self.output}: was begun with another configuration ({', '.join(changed)} differ"
                f"{': ' + differences if differences else ''}); choose a new output, or bring back the old settings"
            )

    def open_run(self, digests: Mapping[str, str], config: Mapping[str, Any], **provenance: Any) -> None:
        """Record the run, or check that this output was begun with the same digests."""
        description = {"digests": dict(digests), "config": config, **provenance}
        try:
            self._storage.create(self._url("run.json"), _to_json(description))
        except ExistsError:
            self.check_run(digests, config)

    # -- receipts --------------------------------------------------------------------------------------------------

    def receipt_url(self, shard_id: str, version: str | None) -> str:
        return self._url("receipts", f"{shard_id}-{version or 'unknown'}.json")

    def create_receipt(self, receipt: Receipt) -> None:
        """Make a shard done. ``ExistsError`` where another attempt did so before."""
        url = self.receipt_url(receipt.shard_id, version_of(receipt.size, receipt.etag))
        self._storage.create(url, _to_json(dataclasses.asdict(receipt)))

    def done(self) -> dict[str, list[str]]:
        """Shard id -> versions with a receipt, from one listing."""
        found: dict[str, list[str]] = {}
        for entry in self._storage.list(self._url("receipts") + "/"):
            shard_id, _, version = entry.url.rsplit("/", 1)[1].removesuffix(".json").partition("-")
            found.setdefault(shard_id, []).append(version)
        return found

    def receipts(self, done: Mapping[str, Iterable[str]] | None = None) -> Iterator[Receipt]:
        """Every receipt (of ``done``, else all), read several at a time and yielded in order of shard id."""
        done = self.done() if done is None else done
        urls = (self.receipt_url(shard_id, version) for shard_id in sorted(done) for version in done[shard_id])
        return (Receipt(**fields) for fields in self._read_all(urls, _RECEIPT))

    def drop_receipts(self, shard_id: str, versions: Iterable[str]) -> None:
        """Forget the receipts of a shard's earlier contents, once there is one of the present content."""
        for version in versions:
            self._storage.delete(self.receipt_url(shard_id, version))

    # -- quarantine ------------------------------------------------------------------------------------------------

    def quarantine(self, verdict: Quarantine) -> None:
        shard = verdict.shard
        self._storage.write(
            self._url("quarantine", f"{shard.id}.json"),
            _to_json(
                {
                    "shard_id": shard.id,
                    "url": shard.url,
                    "size": shard.size,
                    "etag": shard.etag,
                    "reason": verdict.reason,
                    "attempts": list(verdict.attempts),
                }
            ),
        )

    def quarantined(self) -> dict[str, dict[str, Any]]:
        """Shard id -> dead letter."""
        urls = (entry.url for entry in self._storage.list(self._url("quarantine") + "/"))
        letters = self._read_all(urls, {"shard_id", "size", "etag"})
        return {letter["shard_id"]: letter for letter in letters}

    def release(self, shard_id: str) -> None:
        """Let a quarantined shard be tried again."""
        self._storage.delete(self._url("quarantine", f"{shard_id}.json"))

    # -- summary ---------------------------------------------------------------------------------------------------

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """How a run ended: under its id, where it has one, and then as that of the newest run."""
        if summary.get("run_id") is not None:
            self._storage.write(self._url("runs", f"{summary['run_id']}.json"), _to_json(summary))
        self._storage.write(self._url("summary.json"), _to_json(summary))

    def drop_summary(self, run_id: str | None = None) -> None:
        """A run is under way: the summary of the one before, or of an earlier attempt at this, no longer holds."""
        self._storage.delete(self._url("summary.json"))
        if run_id is not None:
            self._storage.delete(self._url("runs", f"{run_id}.json"))

    def summary(self, run_id: str | None = None) -> dict[str, Any] | None:
        """That of the newest run, or of the one with ``run_id``; None where that has not ended."""
        name = ("summary.json",) if run_id is None else ("runs", f"{run_id}.json")
        return self._read_json(self._url(*name), {"status"})

    def _read_all(self, urls: Iterable[str], needed: Collection[str]) -> Iterator[dict[str, Any]]:
        with ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="curator-ledger") as pool:
            for batch in _batches(urls, 64 * _PARALLEL_READS):
                contents = pool.map(self._storage.read, batch)
                yield from (_parse(url, data, needed) for url, data in zip(batch, contents, strict=True))

    def _read_json(self, url: str, needed: Collection[str]) -> dict[str, Any] | None:
        try:
            return _parse(url, self._storage.read(url), needed)
        except NotFoundError:
            return None


def _parse(url: str, data: bytes, needed: Collection[str]) -> dict[str, Any]:
    """A file of the ledger. ConfigError where something has damaged it: each is written whole or not at all."""
    try:
        loaded: Any = json.loads(data)
    except ValueError:
        loaded = None
    if isinstance(loaded, dict) and loaded.keys() >= set(needed):
        return loaded
    if url.endswith("/run.json"):
        way_out = "bring it back from a copy, or begin again in a new output"
    else:
        way_out = "remove it, and run the same command as before: what it spoke of is done anew"
    raise ConfigError(
        f"{redact(url)}: is damaged, {len(data)} bytes that are not the JSON that belongs there; {way_out}"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The manifest minus what is settled.

    ``stale`` maps a changed shard's id to the versions of its old receipts; ``superseded`` does so for a shard that was
    done anew before a run was killed between making the new receipt and dropping the old ones. ``vanished`` maps
    shards that are done and no longer in the manifest to the versions of their receipts. ``outdated`` are dead letters
    that no longer hold: their shard has changed since, or is done.
    """

    todo: tuple[Shard, ...]
    done: int
    quarantined: tuple[str, ...]
    stale: Mapping[str, tuple[str, ...]]
    superseded: Mapping[str, tuple[str, ...]]
    vanished: Mapping[str, tuple[str, ...]]
    outdated: tuple[str, ...] = ()


def make_plan(manifest: Iterable[Shard], ledger: Ledger) -> Plan:
    """Compare the manifest with the ledger: one listing of receipts and one of dead letters, no receipt is read."""
    done, dead = ledger.done(), ledger.quarantined()
    todo: list[Shard] = []
    stale: dict[str, tuple[str, ...]] = {}
    superseded: dict[str, tuple[str, ...]] = {}
    gone = set(done)
    finished, skipped, outdated = 0, [], []
    for shard in manifest:
        shard_id = shard.id
        gone.discard(shard_id)
        version = version_of(shard.size, shard.etag)
        versions = done.get(shard_id)
        if versions and (version is None or version in versions):
            finished += 1
            if version is not None and len(versions) > 1:
                superseded[shard_id] = tuple(old for old in versions if old != version)
            if shard_id in dead:
                outdated.append(shard_id)
        elif shard_id in dead and version in (None, version_of(dead[shard_id]["size"], dead[shard_id]["etag"])):
            skipped.append(shard_id)
        else:
            todo.append(shard)
            if versions:
                stale[shard_id] = tuple(versions)
            if shard_id in dead:
                outdated.append(shard_id)
    return Plan(
        tuple(todo),
        finished,
        tuple(skipped),
        stale,
        superseded,
        {shard_id: tuple(done[shard_id]) for shard_id in sorted(gone)},
        tuple(outdated),
    )


def _batches(urls: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for url in urls:
        batch.append(url)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _to_json(value: Any) -> bytes:
    # What UTF-8 cannot carry (a key or path that is not UTF-8) becomes \\udcNN, which is JSON's own escape for it.
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
