"""Whatever the rows hold and however they are portioned, the part says what they say."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.data import EntityTag, Reject, Rows
from curator.storage import MemoryStorage
from curator.tables.columns import slice_rows
from curator.tables.verify import verify_part
from tests.tables.rows import DIM, IDS, SCHEMA, SHARD, expected, join_rows, write_part

# Any code point, lone surrogates among them, as tar names and json give them.
texts = st.one_of(st.text(max_size=8), st.binary(max_size=8).map(lambda b: b.decode("utf-8", "surrogateescape")))
wild = st.one_of(texts, st.text(st.characters(categories=["Cs", "Ll"]), max_size=4))
scores = st.floats(-1, 1, width=32)
optional_size = st.none() | st.integers(1, 2**31 - 1)


@st.composite
def sample_rows(draw: st.DrawFn) -> dict[str, Any]:
    reject = draw(st.none() | st.builds(Reject, st.sampled_from(["empty_image", "not_an_image"]), wild))
    most = 0 if reject else 4
    indices = draw(st.lists(st.integers(0, len(IDS) - 1), max_size=most))
    vector = np.zeros(DIM)
    vector[draw(st.integers(0, DIM - 1))] = draw(st.sampled_from([-1.0, 1.0]))
    return {
        "key": draw(texts),
        "offset": draw(st.integers(0, 2**62)),
        "width": draw(optional_size),
        "height": draw(optional_size),
        "format": draw(st.sampled_from([None, "JPEG", "PNG"])),
        "sha256": draw(st.none() | st.binary(min_size=32, max_size=32)),
        "caption": draw(st.none() | wild),
        "metadata": draw(st.none() | st.binary(max_size=20)),
        "reject": reject,
        "vector": np.full(DIM, np.inf) if reject else vector,
        "labels": [(i, draw(scores)) for i in indices],
        "abstained": draw(st.booleans()),
        "score": draw(scores | st.just(float("nan"))),
        "entities": draw(st.lists(st.builds(EntityTag, *[st.text(max_size=4)] * 4, scores), max_size=most)),
        "tags": draw(st.lists(st.text(max_size=4), max_size=most)),
        "words": draw(st.integers(-2, 2**62)),
        "language": draw(st.none() | wild),
    }


@st.composite
def portioned(draw: st.DrawFn) -> tuple[Rows, list[Rows]]:
    drawn = draw(st.lists(sample_rows(), max_size=12))
    rows = join_rows([row | {"index": i} for i, row in enumerate(drawn)])
    cuts = sorted(draw(st.lists(st.integers(0, len(drawn)), max_size=4)))
    borders = [0, *cuts, len(drawn)]
    return rows, [slice_rows(rows, a, b) for a, b in pairwise(borders)]


@settings(max_examples=80, deadline=None)
@given(portioned(), st.integers(1, 6))
def test_part_says_what_the_rows_say(rows_and_portions: tuple[Rows, list[Rows]], row_group_rows: int) -> None:
    rows, portions = rows_and_portions
    storage, whole, split = MemoryStorage(), "memory://properties/whole", "memory://properties/split"
    write_part(storage, whole, rows, row_group_rows=row_group_rows)
    write_part(storage, split, *portions, row_group_rows=row_group_rows)
    assert storage.read(whole) == storage.read(split)
    assert pq.read_table(io.BytesIO(storage.read(split))).to_pylist() == expected(rows)
    assert verify_part(split, storage, schema=SCHEMA, rows=len(rows.records), shard_url=SHARD) == []
