"""Owns the exact percentiles of a run's numbers, and the threshold that keeps a share of it. Knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curator.engine.wait import warn_unless_ended
from curator.errors import ConfigError
from curator.storage import Storage
from curator.tables.readers import scan, schema_of
from curator.tables.schema import columns_of_kind

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_SIZES = ("width", "height")
_NUMBERS = ("min", *(f"p{p}" for p in PERCENTILES), "max", "mean", "threshold")
_SCHEMA = pa.schema(
    [
        ("column", pa.string()), ("by", pa.string()), ("n", pa.int64()), ("null", pa.int64()),
        *((name, pa.float64()) for name in _NUMBERS),
    ]
)  # fmt: skip

_Numbers: TypeAlias = "NDArray[np.floating[Any]]"


def percentiles(
    run: str, storage: Storage, columns: Sequence[str] = (), *, by: str | None = None, keep: float | None = None
) -> pa.Table:
    """A row per column of numbers (default: all scores and counts) and, with ``by``, per value of that text column.

    ``columns`` may also be ``width`` and ``height``. Columns of the table: column, by, n, null, min, p1 .. p99, max
    (linear between ranks), mean, and ``threshold``: the highest value that at least the share ``keep`` of the rows that
    have one reach. Over all rows that are ok; holds 4 bytes a row for a score, 8 for another number. ConfigError for
    columns that are no numbers.
    """
    schema = schema_of(run, storage)
    warn_unless_ended(run, storage)
    scores, texts, counts = (columns_of_kind(schema, kind) for kind in ("score", "text", "count"))
    known = [*scores, *counts]
    chosen = list(columns) or known
    for name in chosen:
        if name not in (*known, *_SIZES):
            raise ConfigError(f"{run}: has no numbers in a column {name!r}; there are {', '.join((*known, *_SIZES))}")
    if not chosen:
        raise ConfigError(
            f"{run}: has no scores and no counts; label it with --score, or relabel it; {' and '.join(_SIZES)} are "
            "measured where --column names them"
        )
    if by is not None and by not in texts:
        raise ConfigError(f"{run}: has no text column {by!r} to divide by; there are {', '.join(texts) or 'none'}")
    if keep is not None and not 0 < keep <= 1:
        raise ConfigError(f"--keep {keep}: is a share between 0 and 1")
    gathered: dict[tuple[str, str | None], list[_Numbers]] = {}
    for batch in scan(run, storage, [*chosen, *([by] if by else [])], only_ok=True):
        groups = np.array(batch.column(by).to_pylist() if by else [None] * batch.num_rows, object)
        for name in chosen:
            values = batch.column(name).to_numpy(zero_copy_only=False)
            values = values.astype(np.float32 if name in scores else np.float64)
            gathered.setdefault((name, None), []).append(values)
            for group in sorted({group for group in groups if group is not None}):
                gathered.setdefault((name, group), []).append(values[groups == group])
    rows = [
        _row(name, group, np.concatenate(gathered[name, group]), keep)
        for name, group in sorted(gathered, key=lambda key: (chosen.index(key[0]), key[1] or ""))
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _row(name: str, by: str | None, values: _Numbers, keep: float | None) -> dict[str, object]:
    known = np.sort(values[~np.isnan(values)]).astype(np.float64)
    row: dict[str, object] = {"column": name, "by": by, "n": len(known), "null": len(values) - len(known)}
    found = np.percentile(known, [0, *PERCENTILES, 100]) if len(known) else [None] * (len(PERCENTILES) + 2)
    row |= {label: None if value is None else float(value) for label, value in zip(_NUMBERS, found, strict=False)}
    row["mean"] = float(known.mean()) if len(known) else None
    row["threshold"] = None
    if keep is not None and len(known):
        row["threshold"] = float(known[len(known) - int(np.ceil(keep * len(known)))])
    return row
