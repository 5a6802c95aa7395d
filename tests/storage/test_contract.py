"""What every storage must do, over every storage."""

from __future__ import annotations

import itertools
import pickle
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from curator.errors import ConfigError, ExistsError, NotFoundError, ReplacedError
from curator.storage import Entry, join, open_storage
from tests.storage.conftest import Place

RACERS = 8
MIB = 1024 * 1024


def race(run: Callable[[int], object]) -> list[object]:
    """What ``run(i)`` returned or raised in each of 8 threads that start together."""
    gate = threading.Barrier(RACERS)

    def racer(number: int) -> object:
        gate.wait()
        try:
            return run(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(racer, range(RACERS)))


def test_write_stat_list_and_read_agree(place: Place) -> None:
    url = join(place.base, "a.bin")
    entry = place.storage.write(url, b"content")
    assert (entry.url, entry.size) == (url, 7)
    assert entry.etag
    assert place.storage.stat(url) == entry
    assert list(place.storage.list(place.base)) == [entry]
    assert place.storage.read(url) == b"content"


def test_empty_objects_are_objects(place: Place) -> None:
    entry = place.storage.write(join(place.base, "empty"), b"")
    upload = place.storage.upload(join(place.base, "empty-too"))
    upload.commit()
    assert [found.size for found in place.storage.list(place.base)] == [0, 0]
    assert place.storage.read(entry.url) == b""
    stream = place.storage.open(entry.url, etag=entry.etag)
    assert stream.read(10) == b""
    stream.close()


@pytest.mark.parametrize("call", ["stat", "open", "read"])
def test_missing_objects_are_not_found(place: Place, call: str) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.bin"):
        getattr(place.storage, call)(join(place.base, "nothing.bin"))


def test_replacing_a_missing_object_is_not_found_and_writes_nothing(place: Place) -> None:
    with pytest.raises((NotFoundError, ReplacedError)):
        place.storage.replace(join(place.base, "x"), b"new", etag="00000000000000000000000000000000")
    assert list(place.storage.list(place.base)) == []


def test_a_directory_is_not_an_object(place: Place) -> None:
    place.storage.write(join(place.base, "d/inner"), b"1")
    for call in (place.storage.stat, place.storage.open, place.storage.read):
        with pytest.raises(NotFoundError):
            call(join(place.base, "d"))


def test_delete_removes_once_and_twice(place: Place) -> None:
    entry = place.storage.write(join(place.base, "gone"), b"1")
    place.storage.delete(entry.url)
    place.storage.delete(entry.url)
    place.storage.delete(join(place.base, "never/was"))
    assert list(place.storage.list(place.base)) == []


def test_listing_is_in_order_of_url_and_by_text_prefix(place: Place) -> None:
    names = ["a/2", "a/10", "a-b", "a.b", "a0", "A", "_private/x", "b/c/d", "b/c-d", "ä", "😀", "a b+c%41#?.tar", "zz"]
    for name in names:
        place.storage.write(join(place.base, name), name.encode())
    listed = [entry.url for entry in place.storage.list(place.base)]
    assert listed == sorted((join(place.base, name) for name in names), key=str.encode)
    some = [entry.url.removeprefix(place.base) for entry in place.storage.list(join(place.base, "a"))]
    assert some == ["a b+c%41#?.tar", "a-b", "a.b", "a/10", "a/2", "a0"]
    assert list(place.storage.list(join(place.base, "nothing/here"))) == []
    for name in names:
        assert place.storage.read(join(place.base, name)) == name.encode()


def test_ranges_are_those_of_a_slice(place: Place) -> None:
    data = random.Random(0).randbytes(100)
    entry = place.storage.write(join(place.base, "o"), data)
    for offset, length in itertools.product([0, 1, 99, 100, 250], [None, 0, 1, 40, 100, 900]):
        check_range(place, entry, data, offset, length)


def check_range(place: Place, entry: Entry, data: bytes, offset: int, length: int | None) -> None:
    stream = place.storage.open(entry.url, offset=offset, length=length, etag=entry.etag)
    pieces = list(iter(lambda: stream.read(7), b""))
    assert b"".join(pieces) == data[offset : None if length is None else offset + length]
    assert stream.read(1) == b""
    assert stream.read() == b""
    stream.close()


def test_a_replaced_object_has_another_etag_and_refuses_the_old_one(place: Place) -> None:
    url = join(place.base, "o")
    seen = set()
    for number in range(12):
        entry = place.storage.write(url, b"%04d" % number)
        assert entry.etag not in seen
        seen.add(entry.etag)
        place.storage.open(url, etag=entry.etag).close()
    for old in seen - {entry.etag}:
        for offset in (0, 2, 100):
            with pytest.raises(ReplacedError, match="o: "):
                place.storage.open(url, offset=offset, etag=old)


def test_create_is_exclusive(place: Place) -> None:
    url = join(place.base, "receipt.json")
    entry = place.storage.create(url, b"first")
    assert place.storage.stat(url) == entry
    with pytest.raises(ExistsError, match=r"receipt\.json"):
        place.storage.create(url, b"second")
    assert place.storage.read(url) == b"first"
    place.storage.delete(url)
    place.storage.create(url, b"third")
    assert place.storage.read(url) == b"third"


def test_of_racing_creators_exactly_one_wins(place: Place) -> None:
    for round_ in range(6):
        url = join(place.base, f"lock-{round_}")
        # the same bytes, so that nobody can be told by content
        outcomes = race(lambda _, url=url: place.storage.create(url, b"same"))
        losers = [outcome for outcome in outcomes if isinstance(outcome, ExistsError)]
        assert len(losers) == RACERS - 1, outcomes


def test_replace_needs_the_current_etag(place: Place) -> None:
    url = join(place.base, "lock")
    first = place.storage.create(url, b"one")
    second = place.storage.replace(url, b"two", etag=first.etag)
    assert place.storage.stat(url) == second
    with pytest.raises(ReplacedError, match="lock"):
        place.storage.replace(url, b"three", etag=first.etag)
    assert place.storage.read(url) == b"two"


# not fsspec: it has no conditional write, and says so by check_conditional_writes
@pytest.mark.parametrize("place", ["memory", "local", "file-url", "s3"], indirect=True)
def test_racing_replacements_lose_no_update(place: Place) -> None:
    url = join(place.base, "counter")
    place.storage.create(url, b"0")

    def add(_: int) -> int:
        failures = 0
        for _ in range(4):
            while True:
                entry = place.storage.stat(url)
                stream = place.storage.open(url)
                value = int(stream.read())
                stream.close()
                try:
                    place.storage.replace(url, str(value + 1).encode(), etag=entry.etag)
                    break
                except ReplacedError:
                    failures += 1
        return failures

    outcomes = race(add)
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    # the value was read after the etag was taken: an update that slipped in between would be counted twice, never lost
    assert int(place.storage.read(url)) == 4 * RACERS


def test_an_upload_is_invisible_until_committed(place: Place) -> None:
    url = join(place.base, "part.parquet")
    data = random.Random(1).randbytes(11 * MIB + 17)
    upload = place.storage.upload(url)
    for start in range(0, len(data), 3 * MIB):
        assert upload.write(data[start : start + 3 * MIB]) == len(data[start : start + 3 * MIB])
        assert list(place.storage.list(place.base)) == []
    entry = upload.commit()
    assert (entry.url, entry.size) == (url, len(data))
    assert list(place.storage.list(place.base)) == [entry]
    assert place.storage.read(url) == data
    upload.abort()
    assert place.storage.stat(url) == entry


@pytest.mark.parametrize("written", [0, 100, 6 * MIB])
def test_an_aborted_upload_leaves_nothing(place: Place, written: int) -> None:
    url = join(place.base, "part")
    upload = place.storage.upload(url)
    upload.write(bytes(written))
    upload.abort()
    upload.abort()
    assert list(place.storage.list(place.base)) == []
    with pytest.raises(ValueError, match="closed"):
        upload.write(b"more")
    with pytest.raises(ValueError, match="closed"):
        upload.commit()
    assert list(place.storage.list(place.base)) == []


def test_an_aborted_upload_keeps_what_stood_there(place: Place) -> None:
    entry = place.storage.write(join(place.base, "part"), b"old")
    upload = place.storage.upload(entry.url)
    upload.write(b"new")
    upload.abort()
    assert place.storage.stat(entry.url) == entry


def test_a_reader_never_sees_half_an_object(place: Place) -> None:
    url = join(place.base, "part")
    contents = [bytes([letter]) * 300_000 for letter in b"AB"]
    place.storage.write(url, contents[0])
    done = threading.Event()

    def rewrite() -> None:
        for number in range(30):
            upload = place.storage.upload(url)
            for start in range(0, 300_000, 100_000):
                upload.write(contents[number % 2][start : start + 100_000])
            upload.commit()
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen: set[int] = set()
    reads = 0
    while not done.is_set() or reads < 3:
        data = place.storage.read(url)
        assert data in contents
        seen.add(data[0])
        reads += 1
    writer.join()
    assert seen <= {65, 66}


def test_storage_can_be_pickled_before_and_after_use(place: Place) -> None:
    fresh = pickle.loads(pickle.dumps(place.storage))
    fresh.write(join(place.base, "a"), b"1")
    used = pickle.loads(pickle.dumps(fresh))
    assert used.read(join(place.base, "a")) == b"1"


@pytest.mark.parametrize("url", ["memory://space", "memory://space/", "s3://bucket/", "s3://", "/tmp/", "file:///tmp/"])
def test_a_url_that_names_no_object_is_a_mistake(url: str) -> None:
    storage = open_storage()
    with pytest.raises(ConfigError, match="names"):
        storage.upload(url)
    with pytest.raises(ConfigError, match="names"):
        storage.write(url, b"")
