"""Samples of several leases through decode threads and device batches: every row arrives and every permit returns."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.data import Lease, Reject, Rows, Sample, Shard
from curator.engine.assembly import Assembly
from curator.engine.decoding import DecodeThreads
from curator.engine.intake import Intake, WorkerSettings
from curator.errors import RetryableError
from tests.engine.machines import COLUMNS, DIM, EchoHead, FakeDecoder, FakeEncoder, engine_threads, sample
from tests.waiting import wait_until

SETTINGS = WorkerSettings(batch_size=4, block_rows=8)


class Line:
    """An intake with its fakes."""

    def __init__(self, settings: WorkerSettings = SETTINGS, *, threads: int = 2, limit_s: float = 60.0) -> None:
        self.encoder, self.decoder, self.settings = FakeEncoder(), FakeDecoder(), settings
        self.pool = DecodeThreads(self.decoder, threads=threads, limit_s=limit_s)
        self.bound = settings.in_flight_samples(self.pool.under_way)
        self.intake = Intake(self.pool, self.encoder, (EchoHead(),), settings)

    def assembly(self, name: str = "a") -> Assembly:
        return Assembly(Lease(Shard(f"mem/{name}.tar")), dim=DIM, columns=COLUMNS, block_rows=self.settings.block_rows)

    def run(self, assembly: Assembly, samples: Sequence[Sample]) -> list[Rows]:
        """What a lease's own thread does."""
        taken: list[Rows] = []

        def take(wait: bool) -> None:
            while (rows := assembly.take(wait=wait)) is not None:
                taken.append(rows)

        for item in samples:
            self.intake.admit(assembly, item)
            take(False)
        assembly.close()
        take(True)
        return taken

    @property
    def permits_back(self) -> bool:
        room = self.intake._room
        return (room._images, room._bytes) == (self.bound, 0)

    def close(self) -> None:
        self.decoder.release.set()
        self.intake.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def reasons(taken: Sequence[Rows]) -> list[str | None]:
    return [found.reject.reason if found.reject else None for rows in taken for found in rows.records]


def test_every_sample_gets_its_own_row(line: Line) -> None:
    kinds = ["ok", "bad", "no_image", "ok"] * 9
    samples = [sample(i, i, kind=kind) for i, kind in enumerate(kinds)]
    taken = line.run(line.assembly(), samples)
    records = [found for rows in taken for found in rows.records]
    assert [found.key for found in records] == [item.key for item in samples]
    assert reasons(taken) == [None, "truncated_image", "no_image", None] * 9
    numbers = [value for rows in taken for value in rows.vectors[:, 0].tolist()]
    assert [int(n) for n, kind in zip(numbers, kinds, strict=True) if kind == "ok"] == [
        i for i, kind in enumerate(kinds) if kind == "ok"
    ]
    captions = [caption for rows in taken for caption in rows.annotations["captions"]]  # type: ignore[union-attr]
    assert captions[3] == ["caption 3"]
    assert captions[1] == ()
    first, bad, missing = records[:3]
    assert (first.width, first.height, first.format) == (20, 10, "JPEG")
    assert first.sha256 == hashlib.sha256(b"ok 0").digest()
    assert bad.sha256 == hashlib.sha256(b"bad 1").digest(), "what was rejected can still be found by its bytes"
    assert (bad.width, bad.reject) == (None, Reject("truncated_image", "image 1"))
    assert missing.reject == Reject("no_image", "members: txt")
    wait_until(lambda: line.permits_back)


def test_a_fault_of_the_reader_is_the_rows_reason(line: Line) -> None:
    fault = Reject("member_too_large", "2 GB")
    damaged = Sample("k0", 0, 0, {"jpg": b"ok 1"}, fault=fault)
    (rows,) = line.run(line.assembly(), [damaged, Sample("k1", 1, 0, {})])
    assert rows.records[0].reject == fault
    assert rows.records[1].reject == Reject("no_image", "members: none")


@pytest.mark.parametrize("member", ["txt", "json"])
def test_a_text_that_is_too_long_is_a_reject_and_is_not_kept(member: str) -> None:
    line = Line(WorkerSettings(batch_size=1, max_text_bytes=100))
    try:
        samples = [Sample(f"k{n}", n, 0, {"jpg": b"ok 1", member: b" " * n}) for n in (100, 101)]
        (rows,) = line.run(line.assembly(), [replace(each, index=i) for i, each in enumerate(samples)])
        long = rows.records[1]
        assert reasons([rows]) == [None, "text_too_long"]
        assert long.reject is not None
        assert long.reject.message == f"member {member!r} has 101 bytes, more than 100"
        assert (long.caption, long.metadata) == (None, None)
    finally:
        line.close()


@pytest.mark.parametrize(
    ("source", "fields", "caption"),
    [
        ("txt", {"txt": b" a cat\n"}, "a cat"),
        ("txt", {}, None),
        ("txt", {"txt": b"caf\xe9"}, "caf\ufffd"),
        ("cap", {"cap": b"x", "txt": b"y"}, "x"),
        ("json.caption", {"json": b'{"caption": "from json"}'}, "from json"),
        ("json.caption", {"json": b'{"caption": 7}'}, None),
        ("json.caption", {"json": b'{"other": "x"}'}, None),
        ("json.caption", {"json": b"[1, 2]"}, None),
        ("json.caption", {"json": b"{broken"}, None),
        ("json.caption", {"json": b"\xff\xfe\x00"}, None),
        ("json.caption", {"json": b"[" * 100_000}, None),
        ("json.caption", {}, None),
    ],
)
def test_captions_are_found_where_the_config_says(source: str, fields: dict[str, bytes], caption: str | None) -> None:
    line = Line(WorkerSettings(batch_size=1, caption=source))
    try:
        (rows,) = line.run(line.assembly(), [Sample("k", 0, 0, {"jpg": b"ok 1", **fields})])
        assert rows.records[0].caption == caption
        assert rows.records[0].metadata == fields.get("json")
    finally:
        line.close()


def test_an_endless_decode_is_a_reject_and_its_neighbours_keep_their_rows(request: pytest.FixtureRequest) -> None:
    """An image is given a whole second: on a busy machine a thread may have no turn for some of it."""
    line = Line(limit_s=1.0)
    request.addfinalizer(line.close)
    kinds = ["ok", "endless", "endless", "endless", "ok", "ok", "bad"]
    taken = line.run(line.assembly(), [sample(i, i, kind=kind) for i, kind in enumerate(kinds)])
    assert reasons(taken) == [None, "decode_timeout", "decode_timeout", "decode_timeout", None, None, "truncated_image"]
    late = taken[0].records[1]
    assert late.reject == Reject("decode_timeout", "not decoded within 1 s")
    assert late.sha256 == hashlib.sha256(b"endless 1").digest()
    assert line.pool.left_behind == 3
    line.decoder.release.set()
    assert reasons(line.run(line.assembly("b"), [sample(i, i) for i in range(20)])) == [None] * 20
    wait_until(lambda: line.permits_back)


def test_an_exception_that_nobody_foresaw_fails_its_lease_and_no_other(line: Line) -> None:
    a, b = line.assembly("a"), line.assembly("b")
    for index in range(6):
        line.intake.admit(a, sample(index, index, kind="crash" if index == 3 else "ok"))
        line.intake.admit(b, sample(index, 10 + index))
    for each in (a, b):
        each.close()
    with pytest.raises(MemoryError, match="image 3"):
        a.take(wait=True)
    rows = b.take(wait=True)
    assert rows is not None
    assert rows.vectors[:, 0].tolist() == [10 + i for i in range(6)]
    wait_until(lambda: line.permits_back)


def test_images_under_way_are_bounded_whatever_the_number_of_leases() -> None:
    line = Line(WorkerSettings(batch_size=2), threads=1, limit_s=30)
    gate = threading.Event()
    line.encoder.before = lambda numbers: gate.wait(60)
    bound = line.bound
    leases = [line.assembly(str(i)) for i in range(3)]
    try:
        threads = [
            threading.Thread(target=line.run, args=(lease, [sample(i, i) for i in range(40)])) for lease in leases
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        assert sum(lease.admitted for lease in leases) <= bound + len(leases)
        gate.set()
        for thread in threads:
            thread.join(60)
        assert [lease.admitted for lease in leases] == [40, 40, 40]
        wait_until(lambda: line.permits_back)
    finally:
        line.close()


@pytest.mark.parametrize("ended", [True, False])
def test_waiting_for_room_ends_with_the_lease_or_at_its_limit(ended: bool) -> None:
    line = Line(WorkerSettings(batch_size=1, device_wait_s=60.0 if ended else 0.5), threads=1)
    gate = threading.Event()
    line.encoder.before = lambda numbers: gate.wait(60)
    a = line.assembly()
    try:
        for index in range(line.bound):
            line.intake.admit(a, sample(index, index))
        if ended:
            threading.Timer(0.1, a.fail, (ValueError("gone"),)).start()
            line.intake.admit(a, sample(99, 99))
        else:
            with pytest.raises(RetryableError, match=r"mem/a\.tar: no room in the device's queue"):
                line.intake.admit(a, sample(99, 99))
    finally:
        gate.set()
        wait_until(lambda: line.permits_back)
        line.close()


@settings(max_examples=15, deadline=None)
@given(
    leases=st.lists(
        st.lists(
            st.sampled_from(["ok", "ok", "ok", "ok", "bad", "no_image", "crash", "endless"]), min_size=0, max_size=14
        ),
        min_size=1,
        max_size=3,
    ),
    broken=st.sets(st.integers(0, 5), max_size=2),
    give_up=st.none() | st.integers(0, 2),
)
def test_after_any_mix_of_outcomes_all_permits_are_back(
    leases: list[list[str]], broken: set[int], give_up: int | None
) -> None:
    """Rejects, crashes, time-outs, encoder faults, ended leases: a permit that leaks would starve the worker."""
    line = Line(WorkerSettings(batch_size=3, block_rows=5), limit_s=0.25)

    def before(numbers: list[int]) -> None:
        if len(line.encoder.batches) - 1 in broken:
            raise RuntimeError("device")

    line.encoder.before = before
    assemblies = [line.assembly(str(i)) for i in range(len(leases))]
    outcomes: dict[int, list[str | None] | BaseException] = {}

    def run(number: int) -> None:
        samples = [sample(i, i, kind=kind) for i, kind in enumerate(leases[number])]
        try:
            outcomes[number] = reasons(line.run(assemblies[number], samples))
        except BaseException as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(leases))]
    try:
        for thread in threads:
            thread.start()
        if give_up is not None and give_up < len(leases):
            assemblies[give_up].fail(ValueError("taken away"))
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        wait_until(lambda: line.permits_back)
    finally:
        line.close()
    words = {"ok": None, "bad": "truncated_image", "no_image": "no_image", "endless": "decode_timeout"}
    late = 0
    for number, outcome in outcomes.items():
        if isinstance(outcome, BaseException):
            assert "crash" in leases[number] or broken or number == give_up
        else:
            late += outcome.count("decode_timeout")  # on a busy machine perhaps more than the endless ones
            found = zip(leases[number], outcome, strict=True)
            assert all(reason in (words[kind], "decode_timeout") for kind, reason in found), (leases[number], outcome)
    assert late <= line.pool.left_behind


def test_close_ends_all_threads() -> None:
    before = engine_threads()
    line = Line()
    line.run(line.assembly(), [sample(i, i) for i in range(10)])
    line.close()
    wait_until(lambda: engine_threads() <= before)
