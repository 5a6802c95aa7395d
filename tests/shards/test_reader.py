from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import webdataset as wds
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.data import Sample
from curator.errors import NotFoundError, ShardError
from curator.shards.reader import read_samples
from curator.storage import MemoryStorage
from tests.builders import make_samples, members_of, tar_bytes, write_tar

MARKER = bytes(1024)
SMALL = [
    ("000.jpg", b"\xff\xd8first"),
    ("000.txt", b"a caption"),
    ("001.jpg", b""),
    ("001.json", b"{}"),
    ("002.jpg", b"x"),
]


def read(data: bytes, **options: Any) -> list[Sample]:
    return list(read_samples(io.BytesIO(data), url="s3://b/0007.tar", **options))


def reference(data: bytes) -> list[tuple[str, dict[str, bytes]]]:
    """What webdataset makes of the tar."""
    files = wds.tariterators.tar_file_expander([{"url": "u", "stream": io.BytesIO(data)}])
    samples = wds.tariterators.group_by_keys(files)
    return [(s["__key__"], {k: v for k, v in s.items() if k not in ("__key__", "__url__")}) for s in samples]


def as_pairs(samples: list[Sample]) -> list[tuple[str, dict[str, bytes]]]:
    return [(sample.key, dict(sample.fields)) for sample in samples]


names = st.lists(
    st.sampled_from(["a", "B", ".", "/", "__", "é", "jpg", "TXT", "é", " ", "0" * 60]), min_size=1, max_size=7
)
contents = st.binary(max_size=40) | st.sampled_from([bytes(511), b"\xff" * 512, bytes(513), bytes(1024)])


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.tuples(names.map("".join), contents), max_size=8),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.booleans(),
)
def test_equals_webdataset_on_every_well_formed_tar(
    members: list[tuple[str, bytes]], format: int, compress: bool
) -> None:
    try:
        data = tar_bytes(members, format=format, compress=compress)
    except (ValueError, UnicodeEncodeError):
        return  # a name that this format cannot hold
    try:
        expected = reference(data)
        keys = [key for key, _ in expected]
        well_formed = len(keys) == len(set(keys))
    except ValueError:
        well_formed = False
    if well_formed:
        assert as_pairs(read(data)) == expected
    else:
        with pytest.raises(ShardError, match=r"not contiguous|comes twice"):
            read(data)


def test_index_and_offset_lead_to_the_image() -> None:
    data = tar_bytes(members_of(make_samples(6)), format=tarfile.PAX_FORMAT)
    samples = read(data)
    assert [sample.index for sample in samples] == list(range(6))
    for sample in samples:
        image = sample.fields[sample.image_extension or ""]
        assert data[sample.offset : sample.offset + len(image)] == image


def test_offset_is_the_first_member_where_no_image_is() -> None:
    data = tar_bytes([("a.txt", b"one"), ("a.json", b"{}")])
    (sample,) = read(data)
    assert data[sample.offset : sample.offset + 3] == b"one"


def test_every_cut_is_a_verdict_with_shard_and_byte() -> None:
    data = tar_bytes(SMALL)
    end = data.rindex(b"x" + bytes(511)) + 512 + len(MARKER)
    for cut in range(end):
        with pytest.raises(ShardError, match=r"s3://b/0007\.tar: .*(cut|not a tar)") as caught:
            read(data[:cut])
        assert f"byte {cut}" in str(caught.value) or cut == 0
    assert len(read(data[:end])) == 3


def test_every_cut_of_a_gzipped_tar_is_a_verdict() -> None:
    data = tar_bytes(SMALL, compress=True)
    for cut in range(len(data)):
        with pytest.raises(ShardError, match=r"s3://b/0007\.tar: .*cut"):
            read(data[:cut])


def test_salvage_keeps_the_whole_samples_before_every_cut() -> None:
    data = tar_bytes(SMALL)
    whole = as_pairs(read(data))
    ends = [data.index(name) - 0 for name in (b"001.jpg", b"002.jpg")]
    for cut in range(0, 512 * 10, 7):
        reader = read_samples(io.BytesIO(data[:cut]), salvage=True)
        kept = as_pairs(list(reader))
        assert reader.salvaged is not None
        assert f"{len(kept)} whole samples" in reader.salvaged
        assert kept == whole[: len(kept)]
        assert len(kept) == sum(cut >= end + 512 for end in ends)


def test_salvage_of_a_good_shard_loses_nothing() -> None:
    reader = read_samples(io.BytesIO(tar_bytes(SMALL)), salvage=True)
    assert len(list(reader)) == 3
    assert reader.salvaged is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d[:512] + b"\x07" + d[513:], None),
        (
            lambda d: d[:1024] + b"\x07" + d[1025:],
            r"no tar header at byte 1024: its checksum is wrong \(in or after.*000",
        ),
        (lambda d: d + b"more", "data follow the end-of-archive marker"),
        (lambda d: d + d, "data follow the end-of-archive marker.*joined with cat"),
        (lambda d: d[:1024] + bytes(512) + d[1024:], "a lone block of zeros at byte 1024"),
        (lambda d: b"not a tar" * 100, "not a tar or tar.gz"),
        (lambda d: b"\x28\xb5\x2f\xfd" + bytes(2000), "not a tar or tar.gz"),
        (lambda d: d[:124] + b"\x80" + b"\xff" * 11 + d[136:], "checksum"),
        (lambda d: d[: d.rindex(b"x" + bytes(511)) + 512], "end-of-archive marker is missing"),
        (lambda d: d + bytes(65 << 20), "bytes of padding"),
        (lambda d: gzip.compress(d) + b"junk", "not gzip follow"),
        (lambda d: gzip.compress(d)[:-8] + bytes(8), "gzip data are corrupt"),
    ],
)
def test_damage_is_named(damage: Any, message: str | None) -> None:
    data = damage(tar_bytes(SMALL))
    if message is None:  # a flipped byte of content cannot be seen in a tar
        assert len(read(data)) == 3
        return
    with pytest.raises(ShardError, match=message) as caught:
        read(data)
    assert str(caught.value).startswith("s3://b/0007.tar: ")
    assert "; " in str(caught.value)


def test_trailing_data_costs_a_salvage_no_sample() -> None:
    reader = read_samples(io.BytesIO(tar_bytes(SMALL) + b"garbage"), salvage=True)
    assert len(list(reader)) == 3
    assert reader.salvaged
    assert "3 whole samples" in reader.salvaged


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["a.jpg", "b.jpg", "a.txt"], "sample 'a': its members are not contiguous"),
        (["a.jpg", "a.txt", "a.jpg"], r"sample 'a': member 'a\.jpg' comes twice"),
        (["a.jpg", "a.JPG"], r"sample 'a': member 'a\.JPG' comes twice"),
        (["d/a.jpg", "d/b.jpg", "d/a.jpg"], "sample 'd/a': its members are not contiguous"),
    ],
)
@pytest.mark.parametrize("salvage", [False, True])
def test_members_apart_or_twice_are_a_verdict(members: list[str], message: str, salvage: bool) -> None:
    data = tar_bytes([(name, b"content") for name in members])
    with pytest.raises(ShardError, match=rf"s3://b/0007\.tar: {message} \(byte \d+\); repack"):
        read(data, salvage=salvage)


def test_only_files_are_members_and_nothing_is_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind in [("d", tarfile.DIRTYPE), ("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE)]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, kind in [("c.jpg", tarfile.CHRTYPE), ("f.jpg", tarfile.FIFOTYPE)]:
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
        for name in ("/etc/evil.jpg", "../../up.jpg", "README", "__index__", "__meta__/a.json"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"data"))
    reader = read_samples(io.BytesIO(buffer.getvalue()))
    assert [sample.key for sample in reader] == ["/etc/evil", "../../up"]
    assert reader.skipped == {"directory": 1, "link": 2, "device": 2, "meta": 2, "no_key": 1}
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_utf8_keep_their_identity() -> None:
    names = ["a\udcff.jpg", "a\udcfe.jpg", "\\xff.jpg", "ü.jpg"]
    samples = read(tar_bytes([(name, b"x") for name in names], format=tarfile.GNU_FORMAT))
    keys = [sample.key for sample in samples]
    assert keys == ["a\\xff", "a\\xfe", "\\xff", "ü"]
    for key in keys:
        key.encode()  # valid UTF-8, so that Parquet takes it


def test_reads_a_plain_path_alone_and_closes_it(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "shard.tar.gz", make_samples(3))
    with read_samples(str(path)) as reader:
        assert [sample.key for sample in reader] == ["000000", "000001", "000002"]
        assert reader.url == str(path)


def test_a_missing_shard_is_named() -> None:
    with pytest.raises(NotFoundError, match=r"memory://none/x\.tar"):
        read_samples("memory://none/x.tar", storage=MemoryStorage())


def test_streams_that_give_a_byte_at_a_time_read_the_same() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3) if size and size > 0 else size)

    for compress in (False, True):
        data = tar_bytes(members_of(make_samples(2, width=16, height=16)), compress=compress)
        assert as_pairs(list(read_samples(Trickle(data)))) == as_pairs(read(data))
