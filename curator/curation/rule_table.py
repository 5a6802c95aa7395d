"""Applies rules to a whole run: a table of which rows are kept and which rule dropped the others. Knows no rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from curator.curation.frequencies import UploadFile
from curator.curation.rules import Frequencies, Rule, RuleSet
from curator.errors import ConfigError, NotFoundError
from curator.storage import Storage, join
from curator.tables.readers import Part, parts, scan

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("failed", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class RuleReport:
    """Rows, those kept, and by rule: how many it dropped, and how many no other rule would have dropped."""

    rows: int
    kept: int
    rejected: int
    dropped: Mapping[str, int]
    alone: Mapping[str, int]
    skipped: tuple[str, ...]


def apply_rules(
    run: str, storage: Storage, rules: tuple[Rule, ...], *, frequencies: str | None = None, output: str | None = None
) -> RuleReport:
    """Count what ``rules`` keep of a run, and write ``sample_id, kept, failed`` to ``output`` (Parquet) in one step.

    ``frequencies`` is the output of ``curator concepts`` on that run. ``failed`` names the rules that a row breaks; it
    is null for a rejected row. ConfigError where the run lacks what a rule needs.
    """
    first = next(parts(run, storage), None)
    if first is None:
        raise ConfigError(f"{run}: holds no part-*.parquet; give the output of a run")
    with Part(first, storage) as part:
        chosen = RuleSet(rules, part.schema.names, read_frequencies(frequencies, storage) if frequencies else None)
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
    return RuleReport(rows, kept, rejected, order, {name: alone[name] for name in names}, chosen.skipped)


def read_frequencies(output: str, storage: Storage) -> Frequencies:
    """The counts that ``curator concepts`` left, of all that occurs more than once."""
    counts = []
    for name in ("captions.parquet", "images.parquet"):
        try:
            with storage_file(join(output, name), storage) as file:
                table = pq.read_table(file, filters=[("n", ">", 1)])
        except NotFoundError as error:
            raise ConfigError(f"{output}: has no {name}; give the output of `curator concepts RUN`") from error
        counts.append(dict(zip(table["digest"].to_pylist(), table["n"].to_pylist(), strict=True)))
    return Frequencies(*counts)


def storage_file(url: str, storage: Storage) -> pa.BufferReader:
    """A small Parquet file, whole."""
    return pa.BufferReader(storage.read(url))
