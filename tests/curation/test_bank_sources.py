"""Captions out of every kind of file, whole and in pieces: each caption once, in order, whatever the cut."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.curation.bank_sources import Reading, captions, file_of, leases, place_in
from curator.curation.bank_text import MOST_BYTES, Caption, Unusable, known_encoding
from curator.errors import ConfigError, ShardError
from curator.storage import MemoryStorage, ReadStream, open_storage
from tests.builders import write_tar

STORAGE = open_storage()
READING = Reading()
UNDECODABLE, TOO_LONG = Unusable("undecodable"), Unusable("too_long")


def read(inputs: Sequence[str | Path], *, lease_bytes: int = 100, reading: Reading = READING) -> list[Caption]:
    found = leases([str(each) for each in inputs], STORAGE, reading, lease_bytes=lease_bytes)
    return [text for lease in found for text in captions(lease.url, STORAGE.stat(file_of(lease.url)), STORAGE, reading)]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=12), max_size=20
    ),
    ends=st.booleans(),
    lease_bytes=st.integers(1, 40),
)
def test_every_line_is_in_one_lease(lines: list[str], ends: bool, lease_bytes: int) -> None:
    storage = MemoryStorage()
    data = ("\n".join(lines) + ("\n" if ends and lines else "")).encode()
    expected = data.decode().split("\n")
    if expected[-1] == "":
        expected.pop()
    url = "memory://lines/captions.txt"
    storage.write(url, data)
    found = list(leases([url], storage, READING, lease_bytes=lease_bytes))
    assert len(found) == max(1, -(-len(data) // lease_bytes))
    assert len({lease.id for lease in found}) == len(found)
    entry = storage.stat(url)
    got = [text for lease in found for text in captions(lease.url, entry, storage, READING)]
    assert got == [line.removeprefix("\ufeff") for line in expected]
    packed = "memory://lines/captions.txt.gz"
    storage.write(packed, gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]))
    (lease,) = leases([packed], storage, READING, lease_bytes=lease_bytes)
    assert list(captions(lease.url, storage.stat(packed), storage, READING)) == got


def test_parquet_is_cut_by_row_groups(tmp_path: Path) -> None:
    rows = [f"caption {n}" if n % 7 else None for n in range(100)]
    table = pa.table({"caption": rows, "other": list(range(100)), "nested": [{"text": row} for row in rows]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10, use_dictionary=False)
    assert len(list(leases([str(tmp_path)], STORAGE, READING, lease_bytes=250))) == 5
    for lease_bytes in (1, 250, 10**9):
        assert read([tmp_path], lease_bytes=lease_bytes) == rows
        assert read([tmp_path], lease_bytes=lease_bytes, reading=Reading("nested.text")) == rows
    with pytest.raises(ConfigError, match=r"no column 'title', it has caption, other, nested\.text"):
        read([tmp_path], reading=Reading("title"))
    pq.write_table(pa.table({"title": rows}), tmp_path / "b.parquet", row_group_size=10, use_dictionary=False)
    for lease_bytes in (1, 10**9):  # only the first is asked beforehand: the others are broken files among good ones
        with pytest.raises(ShardError, match=r"b\.parquet: has no column 'caption', it has title"):
            read([tmp_path], lease_bytes=lease_bytes)
    with pytest.raises(ShardError, match="holds int64"):
        read([tmp_path / "a.parquet"], reading=Reading("other"))
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(ShardError, match=r"b\.parquet: is not readable as Parquet"):
        read([tmp_path / "b.parquet"])


def test_captions_of_shards(tmp_path: Path) -> None:
    samples = [
        ("0", {"jpg": b"", "txt": b"one", "json": b'{"title": "first"}'}),
        ("1", {"jpg": b"", "json": b'{"title": 7}'}),
        ("2", {"txt": b"\xff three", "json": b"["}),
    ]
    write_tar(tmp_path / "0.tar", samples)
    assert read([tmp_path]) == ["one", None, UNDECODABLE]
    assert read([tmp_path], reading=Reading(encoding="cp1252")) == ["one", None, "\u00ff three"]
    assert read([tmp_path], reading=Reading(member="json.title")) == ["first", None, None]


def test_files_come_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    assert read([tmp_path / "c.txt", tmp_path]) == ["c", "a", "b"]


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("a")
    (tmp_path / "a#b.txt").write_text("a")
    for name, told in [
        ("captions.csv*", "no file of captions"),
        ("captions.csv", r"captions\.csv: no file of captions"),
        ("a#b.txt", "'#' in the name"),
        ("none", "no shard"),
    ]:
        with pytest.raises(ConfigError, match=told):
            read([tmp_path / name])
    whole = gzip.compress(b"a line\n" * 1000)
    for broken, told in [(whole[:-20], "cut"), (b"no gzip", "not readable as gzip"), (b"", "cut")]:
        (tmp_path / "x.txt.gz").write_bytes(broken)
        with pytest.raises(ShardError, match=told):
            read([tmp_path / "x.txt.gz"])


def test_a_gzip_bomb_takes_no_memory() -> None:
    storage = MemoryStorage()
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        for _ in range(64):
            file.write(b"x" * 2**20)
    storage.write("memory://bomb/x.txt.gz", buffer.getvalue())
    assert list(captions("memory://bomb/x.txt.gz", storage.stat("memory://bomb/x.txt.gz"), storage, READING)) == [
        TOO_LONG
    ]


@pytest.mark.parametrize("lease_bytes", [1000, 2**19, 10**9])
def test_a_line_that_is_too_long_is_left_out_and_its_neighbours_stay(tmp_path: Path, lease_bytes: int) -> None:
    long = b"x" * (3 * MOST_BYTES if lease_bytes > 1000 else MOST_BYTES + 1)
    (tmp_path / "a.txt").write_bytes(b"before\n" + long + b"\nafter\n" + b"y" * MOST_BYTES + b"\n" + long)
    assert read([tmp_path], lease_bytes=lease_bytes) == ["before", TOO_LONG, "after", "y" * MOST_BYTES, TOO_LONG]


def test_a_file_without_lines_is_read_once_and_not_once_for_every_lease() -> None:
    class Counting(MemoryStorage):
        read_bytes = 0

        def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
            data = super().open(url, offset=offset, length=length, etag=etag)
            return Counted(data.read())

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            Counting.read_bytes += len(data)
            return data

    storage, url, size = Counting(), "memory://lines/one.txt", 16 * MOST_BYTES
    storage.write(url, b"x" * size)
    found = list(leases([url], storage, READING, lease_bytes=MOST_BYTES))
    assert [each for lease in found for each in captions(lease.url, storage.stat(url), storage, READING)] == [TOO_LONG]
    assert Counting.read_bytes <= 4 * size, "and not a quadratic number"


def test_what_is_not_in_the_encoding_takes_its_place_and_no_text_is_made_up(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\ncaf\xe9\n\nU\0T\0F\0\n\xc3\xa9t\xc3\xa9")
    for lease_bytes in (3, 10**9):
        assert read([tmp_path], lease_bytes=lease_bytes) == ["first", UNDECODABLE, "", UNDECODABLE, "\u00e9t\u00e9"]
    (tmp_path / "a.txt").write_bytes("caf\u00e9 \u20ac\n".encode("cp1252"))
    assert read([tmp_path], reading=Reading(encoding="cp1252")) == ["caf\u00e9 \u20ac"]
    (tmp_path / "a.txt").write_bytes("\u72ac\n\u732b".encode("shift_jis"))
    assert read([tmp_path], lease_bytes=1, reading=Reading(encoding="shift_jis")) == ["\u72ac", "\u732b"]
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16"))
    with pytest.raises(ShardError, match=r"a\.txt: begins as UTF-16 does; .*iconv"):
        read([tmp_path])


def test_parquet_that_lies_about_its_bytes(tmp_path: Path) -> None:
    data = pa.array([b"a dog", b"caf\xe9", None, "caf\u00e9".encode()], pa.binary())
    for name, column in {"lie": data.view(pa.string()), "bytes": data, "large": data.cast(pa.large_binary())}.items():
        pq.write_table(pa.table({"caption": column}), tmp_path / f"{name}.parquet")
        assert read([tmp_path / f"{name}.parquet"]) == ["a dog", UNDECODABLE, None, "caf\u00e9"], name
        found = read([tmp_path / f"{name}.parquet"], reading=Reading(encoding="latin-1"))
        assert found == ["a dog", "caf\u00e9", None, "caf\u00e9"], "what is UTF-8 is read as it"
    pq.write_table(pa.table({"caption": pa.array(["x", "y", "x"]).dictionary_encode()}), tmp_path / "d.parquet")
    assert read([tmp_path / "d.parquet"]) == ["x", "y", "x"]


def test_json_that_is_no_unicode(tmp_path: Path) -> None:
    values = [rb'{"c": "\ud83d lone"}', b'{"c": "caf\xe9"}', rb'{"c": "\ud83d\udc36"}', b'{"c": ""}']
    write_tar(tmp_path / "0.tar", [(str(n), {"json": value}) for n, value in enumerate(values)])
    assert read([tmp_path], reading=Reading(member="json.c")) == [UNDECODABLE, UNDECODABLE, "\U0001f436", ""]
    assert read([tmp_path], reading=Reading(member="json.c", encoding="cp1252"))[1] == "caf\u00e9"


def test_encodings_are_known_and_have_lines() -> None:
    assert [known_encoding(name) for name in ("UTF8", "latin-1", "Windows-1252")] == ["utf-8", "iso8859-1", "cp1252"]
    for name, told in [
        ("utf-16", "iconv -f utf-16"),
        ("cp037", "told apart"),
        ("hex", "not known"),
        ("x", "not known"),
    ]:
        with pytest.raises(ConfigError, match=told):
            known_encoding(name)


def test_places_are_called_what_they_are() -> None:
    named = [place_in(url, 7) for url in ("a/b.TXT", "b.txt.gz", "c.parquet", "d.tar")]
    assert named == ["a/b.TXT line 7", "b.txt.gz line 7", "c.parquet row 7", "d.tar sample 7"]
