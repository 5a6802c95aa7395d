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

from curator.curation.bank_sources import Reading, captions, file_of, leases
from curator.errors import ConfigError, ShardError
from curator.storage import MemoryStorage, open_storage
from tests.builders import write_tar

STORAGE = open_storage()
READING = Reading()


def read(inputs: Sequence[str | Path], *, lease_bytes: int = 100, reading: Reading = READING) -> list[str | None]:
    found = leases([str(each) for each in inputs], STORAGE, reading, lease_bytes=lease_bytes)
    return [text for lease in found for text in captions(lease.url, STORAGE.stat(file_of(lease.url)), STORAGE, reading)]


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12), max_size=20
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
    with pytest.raises(ShardError, match=r"no column 'title', it has caption, other, nested\.text"):
        read([tmp_path], reading=Reading("title"))
    with pytest.raises(ShardError, match="holds int64"):
        read([tmp_path], reading=Reading("other"))
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
    assert read([tmp_path]) == ["one", None, "\ufffd three"]
    assert read([tmp_path], reading=Reading(member="json.title")) == ["first", None, None]


def test_files_come_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    assert read([tmp_path / "c.txt", tmp_path]) == ["c", "a", "b"]


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("a")
    (tmp_path / "a#b.txt").write_text("a")
    for name, told in [("captions.csv*", "no file of captions"), ("a#b.txt", "'#' in the name"), ("none", "no shard")]:
        with pytest.raises(ConfigError, match=told):
            read([tmp_path / name])
    (tmp_path / "long.txt").write_bytes(b"x" * (2**20 + 2**20 + 1))
    with pytest.raises(ShardError, match="a line of more than"):
        read([tmp_path / "long.txt"], lease_bytes=10**9)
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
    with pytest.raises(ShardError, match="a line of more than"):
        list(captions("memory://bomb/x.txt.gz", storage.stat("memory://bomb/x.txt.gz"), storage, READING))
