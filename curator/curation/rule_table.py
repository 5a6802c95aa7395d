"""Applies rules to a whole run: a table of which rows are kept and which rule dropped the others. Knows no rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curator.curation.counting import FOLDER
from curator.curation.frequencies import UploadFile
from curator.curation.rules import Frequencies, Rule, RuleSet
from curator.engine.ledger import Ledger, version_of
from curator.engine.wait import warn_unless_ended
from curator.errors import ConfigError, NotFoundError
from curator.kernels.ngrams import NgramRanks
from curator.storage import Storage, join
from curator.tables.readers import parts, scan, schema_of

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("failed", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class RuleReport:
    """Rows, those kept, and by rule: how many it dropped, and how many no other rule would have dropped.

    ``skipped`` are the optional rules that could not be applied, ``note`` says where frequencies are not of this run.
    """

    rows: int
    kept: int
    rejected: int
    dropped: Mapping[str, int]
    alone: Mapping[str, int]
    skipped: tuple[str, ...]
    note: str = ""


def apply_rules(
    run: str, storage: Storage, rules: tuple[Rule, ...], *, frequencies: str | None = None, output: str | None = None
) -> RuleReport:
    """Count what ``rules`` keep of a run, and write ``sample_id, kept, failed`` to ``output`` (Parquet) in one step.

    ``frequencies`` is the output of ``curator concepts``, on that run or on a larger set; the report notes which.
    ``failed`` names the rules that a row breaks; it is null for a rejected row. ConfigError where the run lacks what a
    rule needs.
    """
    columns = schema_of(run, storage).names
    warn_unless_ended(run, storage)
    chosen = RuleSet(rules, columns, read_frequencies(frequencies, storage) if frequencies else None)
    upload = storage.upload(output) if output else None
    writer = (
        pq.ParquetWriter(pa.PythonFile(UploadFile(upload), mode="w"), SCHEMA, compression="zstd") if upload else None
    )
    rows = kept = rejected = 0
    dropped: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    names = [rule.name for rule in chosen.rules]
    try:
        for batch in scan(run, storage, chosen.columns):
            good, passed = chosen(batch)
            is_rejected = [status != "ok" for status in batch.column("status").to_pylist()]
            failures = (~passed).sum(axis=0)
            rows, kept, rejected = rows + len(good), kept + int(good.sum()), rejected + sum(is_rejected)
            dropped.update(dict(zip(names, (~passed).sum(axis=1).tolist(), strict=True)))
            alone.update(dict(zip(names, (~passed[:, failures == 1]).sum(axis=1).tolist(), strict=True)))
            if writer:
                broken = [
                    None if gone else [name for name, fine in zip(names, column, strict=True) if not fine]
                    for gone, column in zip(is_rejected, passed.T.tolist(), strict=True)
                ]
                columns = [batch.column("sample_id"), pa.array(good), pa.array(broken, SCHEMA.field("failed").type)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        if writer and upload:
            writer.close()
            upload.commit()
    finally:
        if upload:
            upload.abort()
    order = {name: dropped[name] for name in names}
    note = counted_elsewhere(run, frequencies, storage) if frequencies else ""
    return RuleReport(rows, kept, rejected, order, {name: alone[name] for name in names}, chosen.skipped, note)


def counted_elsewhere(run: str, frequencies: str, storage: Storage) -> str:
    """What is to be said where ``frequencies`` does not count the very parts of ``run`` as they are now; else nothing.

    That may be meant (how often captions occur in a larger set), so it is no error.
    """
    counted = {
        (shard_id, version)
        for shard_id, versions in Ledger(storage, join(frequencies, FOLDER)).done().items()
        for version in versions
    }
    if not counted:
        return f"{frequencies} does not say of which parts its counts are: whether they are of {run} is not known"
    there = {
        (entry.url.rsplit("part-", 1)[1].removesuffix(".parquet"), version_of(entry.size, entry.etag))
        for entry in parts(run, storage)
    }
    missing, others = len(there - counted), len(counted - there)
    if not missing and not others:
        return ""
    return (
        f"the counts of {frequencies} are not those of {run}: {missing} of its {len(there)} parts are not among them "
        f"as they are now, {others} others are; a caption or image that was not counted is taken to occur once"
    )


def read_frequencies(output: str, storage: Storage) -> Frequencies:
    """The counts that ``curator concepts`` left: captions and images that occur more than once, and all n-grams."""
    counts: list[dict[str, int]] = []
    for name in ("captions.parquet", "images.parquet"):
        try:
            file = pa.BufferReader(storage.read(join(output, name)))
            table = pq.read_table(file, filters=[("n", ">", 1)])
        except NotFoundError as error:
            raise ConfigError(f"{output}: has no {name}; give the output of `curator concepts RUN`") from error
        counts.append(dict(zip(table["digest"].to_pylist(), table["n"].to_pylist(), strict=True)))
    try:
        table = pq.read_table(pa.BufferReader(storage.read(join(output, "ngrams.parquet"))), columns=["digest", "n"])
    except NotFoundError:
        return Frequencies(counts[0], counts[1])
    keys, numbers = np.asarray(table["digest"].to_numpy(), np.uint64), np.asarray(table["n"].to_numpy(), np.int64)
    return Frequencies(counts[0], counts[1], NgramRanks(keys, numbers))
