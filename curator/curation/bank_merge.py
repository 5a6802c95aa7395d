"""The finishing step of a bank's build: parts in order of their leases, duplicates out, into the bank's own files.

Owns what makes a bank the same whoever built it. Knows no encoder and no schedule.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curator.captions.facts import (
    FACTS,
    BankFacts,
    IndexFacts,
    content_digest,
    counts_told,
    read_facts,
    text_key,
)
from curator.captions.local import localise
from curator.captions.writer import BankWriter, UploadFile
from curator.curation.bank_sources import file_of, place_in
from curator.curation.bank_text import KINDS
from curator.data import Shard
from curator.engine.ledger import Ledger, version_of
from curator.errors import ConfigError, RetryableError
from curator.storage import Storage, join
from curator.tables.readers import Part, part_url, vectors
from curator.tables.schema import EMBEDDING

logger = logging.getLogger(__name__)

_UPLOAD_BYTES = 8 * 2**20


def merge(
    output: str,
    ledger: Ledger,
    leases: Sequence[Shard],
    storage: Storage,
    *,
    provenance: Mapping[str, str],
    index: str | None = None,
    cache_dir: str | None = None,
) -> BankFacts:
    """The bank at ``output`` from the parts of ``leases`` in ``ledger.output``; what stood there before is replaced.

    Of equal captions the first in order of the leases stays. ``bank.json`` is written last and names the files, so that
    a reader finds the old bank or the new one. Nothing is done where this very bank is there already.
    """
    done = _done(ledger, leases)
    sources = hashlib.sha256("\n".join(f"{each.url}\t{each.size}\t{each.etag}" for each in done).encode()).hexdigest()
    present = present_at(output, storage)
    if present is not None and _is_it(present, sources, provenance["config_digest"], index, output, storage):
        return present
    counts, first = _counts(ledger, done)
    keep, keys = _first_ones(done, ledger.output, storage)
    if not len(keys):
        raise ConfigError(f"{output}: the input holds no caption ({counts_told(counts, first)}); {_way_out(counts)}")
    dim = int(provenance["dim"])
    digest = content_digest(provenance["encoder_digest"], provenance["precision"], dim, keys.tobytes())
    with BankWriter(storage, output, name=digest[:16], dim=dim, count=len(keys)) as writer:
        for texts, rows in _kept(done, ledger.output, storage, keep):
            writer.append(rows, texts)
        vectors_file, texts_file = writer.commit()
    facts = BankFacts(
        digest=digest,
        encoder=provenance["encoder"],
        encoder_digest=provenance["encoder_digest"],
        precision=provenance["precision"],
        dim=dim,
        count=len(keys),
        vectors=vectors_file,
        texts=texts_file,
        captions={**counts, "duplicate": counts["duplicate"] + len(keep) - len(keys)},
        first_left_out=first,
        sources=tuple(dict.fromkeys(file_of(lease.url) for lease in done)),
        sources_digest=sources,
        config_digest=provenance["config_digest"],
        curator=provenance["curator"],
    )
    if index is not None:
        facts = replace(facts, index=_add_index(index, output, facts, storage, cache_dir))
    storage.write(join(output, FACTS), facts.to_json())
    if first:
        logger.warning(
            "%s: some captions were left out: %s. Where they are in another encoding, build again into another "
            "--output with --encoding NAME, such as cp1252", output, counts_told(counts, first),
        )  # fmt: skip
    _drop_others(output, facts, storage)
    return facts


def _done(ledger: Ledger, leases: Sequence[Shard]) -> list[Shard]:
    """The leases that have a part. RetryableError where a file is not the one any more that its part was made of."""
    versions, given_up = ledger.done(), ledger.quarantined()
    done = []
    for lease in leases:
        if lease.id in given_up:
            continue
        if version_of(lease.size, lease.etag) not in versions.get(lease.id, ()):
            raise RetryableError(f"{lease.url}: changed while the bank was built; run the same command again")
        done.append(lease)
    return done


def present_at(output: str, storage: Storage) -> BankFacts | None:
    """What is known of the bank that stands there; None where there is none that this Curator reads."""
    try:
        return read_facts(output, storage)
    except ConfigError:
        return None


def _is_it(
    facts: BankFacts, sources: str, config_digest: str, index: str | None, output: str, storage: Storage
) -> bool:
    kind = None if facts.index is None else facts.index.kind
    if (facts.sources_digest, facts.config_digest, kind) != (sources, config_digest, index):
        return False
    sizes = {entry.url.rpartition("/")[2]: entry.size for entry in storage.list(join(output, ""))}
    return all(sizes.get(file.name) == file.size for file in facts.files)


def _first_ones(leases: Sequence[Shard], build: str, storage: Storage) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which rows of all parts are the first with their text, and the keys [N, 16] of these: one pass over the texts."""
    gathered = bytearray()
    for batch in _batches(leases, build, storage, ["caption"]):
        gathered += b"".join(map(text_key, batch.column("caption").to_pylist()))
    keys = np.frombuffer(gathered, np.uint8).reshape(-1, 16)
    halves = keys.view(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: of equal keys the first row comes first
    ranked = halves[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    keep = np.zeros(len(order), np.bool_)
    keep[order[first]] = True
    return keep, keys[keep]


def _kept(
    leases: Sequence[Shard], build: str, storage: Storage, keep: NDArray[np.bool_]
) -> Iterator[tuple[list[str], NDArray[np.float16]]]:
    """Texts and vectors of the rows that stay, a batch at a time."""
    start = 0
    for batch in _batches(leases, build, storage, ["caption", EMBEDDING]):
        mask = keep[start : start + batch.num_rows]
        start += batch.num_rows
        texts = batch.column("caption").filter(pa.array(mask)).to_pylist()
        yield texts, np.ascontiguousarray(vectors(batch)[mask]).astype(np.float16, copy=False)


def _batches(leases: Sequence[Shard], build: str, storage: Storage, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for lease in leases:
        with Part(storage.stat(part_url(build, lease.id)), storage) as part:
            yield from part.batches(columns)


def _counts(ledger: Ledger, leases: Sequence[Shard]) -> tuple[Counter[str], dict[str, str]]:
    """Sums of what the leases counted of their captions, and where the first that was left out stands, by kind.

    Leases of one file lie in order of the file, so that what stands before one of them has been counted.
    """
    counts = Counter(dict.fromkeys(("read", "empty", "duplicate", *KINDS), 0))
    before: Counter[str] = Counter()
    first: dict[str, str] = {}
    of = {lease.id: [version_of(lease.size, lease.etag) or ""] for lease in leases}
    receipts = {receipt.shard_id: receipt.counters for receipt in ledger.receipts(of)}
    for lease in leases:
        told_of, url = receipts[lease.id], file_of(lease.url)
        for kind, number in told_of.get("first", {}).items():
            first.setdefault(kind, place_in(url, before[url] + number))
        counts.update(told_of["captions"])
        before[url] += told_of["captions"]["read"]
    return counts, first


def _way_out(counts: Mapping[str, int]) -> str:
    """What to do about what most of the captions lack."""
    if counts["undecodable"] > counts["empty"]:
        return "give the encoding of the files with --encoding, such as cp1252"
    if counts["too_long"] > counts["empty"]:
        return "give texts with a caption a line"
    return "name the column of Parquet files with --column, the member of shards with --caption"


def _add_index(kind: str, output: str, facts: BankFacts, storage: Storage, cache_dir: str | None) -> IndexFacts:
    """Build an approximate index over the vectors just written, and put it beside them."""
    from curator.captions.index import build_index, faiss_module
    from curator.captions.search import map_rows

    rows = map_rows(localise(output, facts, storage, cache_dir)[facts.vectors.name])
    index, factory, search, recall = build_index(kind, rows)
    name = f"index-{facts.digest[:16]}.faiss"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        faiss_module().write_index(index, str(path))
        upload = UploadFile(storage, join(output, name))
        try:
            with path.open("rb") as file:
                while chunk := file.read(_UPLOAD_BYTES):
                    upload.write(chunk)
            stored = upload.commit()
        except BaseException:
            upload.abort()
            raise
    return IndexFacts(kind, factory, stored, search, round(recall, 4), 256)


def _drop_others(output: str, facts: BankFacts, storage: Storage) -> None:
    """Remove the files of the bank that stood here before. A reader that has them mapped keeps them."""
    kept = {file.name for file in facts.files}
    for entry in list(storage.list(join(output, ""))):
        name = entry.url.removeprefix(join(output, ""))
        if "/" not in name and name.startswith(("vectors-", "texts-", "index-")) and name not in kept:
            storage.delete(entry.url)
