"""Rows settled in any order by any thread, against rows put together one by one."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.data import Rows
from curator.engine.assembly import AbandonedError, Assembly
from curator.engine.blocks import Block
from tests.engine.rows import COLUMNS, DIM, LEASE, annotate, empty_row, record, row_values


def make(block_rows: int = 4) -> Assembly:
    return Assembly(LEASE, dim=DIM, columns=COLUMNS, block_rows=block_rows)


def settle(assembly: Assembly, indices: list[int], seed: int = 0) -> tuple[np.ndarray[Any, Any], list[Any]]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((len(indices), DIM)).astype(np.float32)
    annotations, plain = annotate(indices, seed, rng)
    picked = np.arange(len(indices))
    assembly.settle_embedded([record(i) for i in indices], vectors, annotations, picked)
    return vectors, plain


@settings(max_examples=120, deadline=None)
@given(
    n=st.integers(0, 40),
    block_rows=st.integers(1, 9),
    batch_size=st.integers(1, 12),
    reject_share=st.sampled_from([0.0, 0.3, 1.0]),
    threads=st.integers(1, 3),
    eager=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_taken_rows_equal_a_naive_construction(
    n: int, block_rows: int, batch_size: int, reject_share: float, threads: int, eager: bool, seed: int
) -> None:
    """Batches hold rows of this lease among strangers' rows, in any order, over several blocks."""
    rng = np.random.default_rng(seed)
    assembly = make(block_rows)
    taken: list[Rows] = []
    expected: list[tuple[str | None, Any, Any]] = [(None, None, None)] * n
    rejected = set(np.flatnonzero(rng.random(n) < reject_share).tolist())
    work: list[Any] = []
    for i in rejected:
        expected[i] = ("bad", None, empty_row())
        work.append((assembly.settle_rejected, record(i, reject="bad")))
    others = rng.permutation([i for i in range(n) if i not in rejected]).tolist()
    for batch, start in enumerate(range(0, len(others), batch_size)):
        indices = others[start : start + batch_size]
        strangers = int(rng.integers(0, 4))
        places = rng.permutation(len(indices) + strangers)[: len(indices)]
        rows = [0] * (len(indices) + strangers)
        for place, index in zip(places.tolist(), indices, strict=True):
            rows[place] = index
        vectors = rng.standard_normal((len(rows), DIM)).astype(np.float32)
        annotations, plain = annotate(rows, batch, rng)
        for place, index in zip(places.tolist(), indices, strict=True):
            expected[index] = (None, vectors[place], plain[place])
        work.append((assembly.settle_embedded, [record(i) for i in indices], vectors, annotations, places))
    order = rng.permutation(len(work)).tolist()

    for index in range(n):
        assert assembly.admit() == index
        if eager:
            assert assembly.take(wait=False) is None

    def run(mine: list[int]) -> None:
        for i in mine:
            work[i][0](*work[i][1:])

    workers = [threading.Thread(target=run, args=(order[i::threads],)) for i in range(threads)]
    for worker in workers:
        worker.start()
    assembly.close()
    while (rows_taken := assembly.take(wait=True)) is not None:
        taken.append(rows_taken)
    for worker in workers:
        worker.join()

    assert [len(rows.records) for rows in taken] == [min(block_rows, n - i) for i in range(0, n, block_rows)]
    flat = [(rows, i) for rows in taken for i in range(len(rows.records))]
    for index, (rows, i) in enumerate(flat):
        reason, vector, values = expected[index]
        assert rows.shard_url == LEASE.shard.url
        assert rows.records[i] == record(index, reject=reason)
        assert bool(rows.ok[i]) == (reason is None)
        assert vector is None or (rows.vectors[i] == vector).all()
        assert row_values(rows, i) == values
    assert assembly.reasons == ({"bad": len(rejected)} if rejected else {})
    assert assembly.take(wait=False) is None


def test_blocks_leave_in_order_and_only_when_whole() -> None:
    assembly = make(block_rows=2)
    for _ in range(5):
        assembly.admit()
    settle(assembly, [2, 3])
    assert assembly.take(wait=False) is None
    settle(assembly, [0])
    assert assembly.take(wait=False) is None
    settle(assembly, [1])
    for first in (0, 2):
        rows = assembly.take(wait=False)
        assert rows is not None
        assert [found.index for found in rows.records] == [first, first + 1]
    settle(assembly, [4])
    assert assembly.take(wait=False) is None, "the last block may still grow"
    assembly.close()
    last = assembly.take(wait=False)
    assert last is not None
    assert len(last.records) == 1


def test_waiting_ends_as_soon_as_the_block_is_whole() -> None:
    assembly = make()
    assembly.admit()
    assembly.close()
    threading.Timer(0.05, settle, (assembly, [0])).start()
    began = time.monotonic()
    assert assembly.take(wait=True) is not None
    assert time.monotonic() - began < 0.9, "woken by the notice, not by the clock"


def test_a_failure_wakes_whoever_waits_and_refuses_later_rows() -> None:
    assembly = make()
    for _ in range(2):
        assembly.admit()
    assembly.close()
    threading.Timer(0.05, assembly.fail, (ValueError("first"),)).start()
    began = time.monotonic()
    with pytest.raises(ValueError, match="first"):
        assembly.take(wait=True)
    assert time.monotonic() - began < 0.9
    assembly.fail(KeyError("second"))
    assert assembly.over
    with pytest.raises(AbandonedError, match=LEASE.shard.url):
        settle(assembly, [0])
    with pytest.raises(AbandonedError):
        assembly.settle_rejected(record(1, reject="bad"))
    with pytest.raises(ValueError, match="first"):
        assembly.take(wait=False)
    assert not assembly.reasons


def test_a_failed_lease_gives_no_more_rows_even_if_a_block_is_whole() -> None:
    assembly = make(block_rows=1)
    assembly.admit()
    settle(assembly, [0])
    assembly.fail(ValueError("late"))
    with pytest.raises(ValueError, match="late"):
        assembly.take(wait=False)


def test_where_a_lease_stands() -> None:
    assembly = make()
    assert assembly.standing().stage == "read"
    for _ in range(3):
        assembly.admit()
    time.sleep(0.02)
    assert assembly.standing().idle_s >= 0.02
    settle(assembly, [0, 2])
    standing = assembly.standing()
    assert (standing.shard_id, standing.url, standing.attempt) == (LEASE.shard.id, LEASE.shard.url, 1)
    assert (standing.stage, standing.rows) == ("label", 2)
    assert standing.idle_s < 0.02
    assembly.move("write")
    assert assembly.standing().stage == "write"
    assembly.spend("write", 1.5)
    assembly.spend("write", 1.0)
    assert assembly.seconds["write"] == 2.5


def test_a_block_refuses_to_leave_unfinished() -> None:
    block = Block(0, 4, DIM, COLUMNS)
    block.records.append(None)
    with pytest.raises(RuntimeError, match=r"mem/a\.tar: block at 0 taken with 0 of 1 rows settled"):
        block.take("mem/a.tar")


def test_a_vocabulary_that_all_batches_share_is_not_copied() -> None:
    """A hundred thousand names a block would cost more than the rows."""
    assembly = make(block_rows=8)
    for _ in range(8):
        assembly.admit()
    for start in (0, 4):
        settle(assembly, list(range(start, start + 4)), seed=start)
    rows = assembly.take(wait=False)
    assert rows is not None
    from tests.engine.rows import IDS, VOCABULARY

    assert rows.annotations["shared"].names is VOCABULARY  # type: ignore[union-attr]
    assert rows.annotations["shared"].ids is IDS  # type: ignore[union-attr]


def test_a_column_that_no_head_declared_is_a_fault_of_the_program() -> None:
    assembly = make()
    assembly.admit()
    with pytest.raises(KeyError, match="surprise"):
        assembly.settle_embedded(
            [record(0)], np.zeros((1, DIM), np.float32), {"surprise": np.zeros(1)}, np.zeros(1, np.int64)
        )
