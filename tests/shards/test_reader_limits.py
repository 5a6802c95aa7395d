from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest

from curator.data import Sample
from curator.errors import ShardError
from curator.shards.reader import read_samples
from tests.builders import make_jpeg, tar_bytes


def read(data: bytes, **options: Any) -> list[Sample]:
    return list(read_samples(io.BytesIO(data), url="s3://b/0007.tar", **options))


def with_header(data: bytes, *, type: bytes | None = None, size: int | None = None) -> bytes:
    """The tar with another type or size in its first header, the checksum made right."""
    header = bytearray(data[:512])
    if type is not None:
        header[156:157] = type
    if size is not None:
        header[124:136] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


def test_a_member_over_the_limit_is_a_fault_of_its_sample_only() -> None:
    data = tar_bytes([("a.jpg", bytes(5000)), ("a.txt", b"caption"), ("b.jpg", b"fine")])
    first, second = read(data, max_member_bytes=4096)
    assert first.fault is not None
    assert first.fault.reason == "member_too_large"
    assert "5000 bytes" in first.fault.message
    assert dict(first.fields) == {"txt": b"caption"}
    assert (second.fault, dict(second.fields)) == (None, {"jpg": b"fine"})


def test_a_sample_over_the_limit_is_a_fault() -> None:
    members = [(f"a.{number}", bytes(1000)) for number in range(100)] + [("b.jpg", b"fine")]
    first, second = read(tar_bytes(members), max_sample_bytes=20_000)
    assert first.fault is not None
    assert first.fault.reason == "sample_too_large"
    assert sum(map(len, first.fields.values())) <= 20_000
    assert second.fault is None


def test_a_sparse_member_is_a_fault() -> None:
    (sample,) = read(with_header(tar_bytes([("a.jpg", b"12345")]), type=b"S"))
    assert sample.fault is not None
    assert sample.fault.reason == "sparse_member"


@pytest.mark.parametrize(
    "extra", [b"17 path=x.jpg\nrest", b"999999 path=x\n", b"x", b"0 a=b\n", b"9999999999999999999 a=b\n"]
)
def test_malformed_pax_headers_are_a_verdict(extra: bytes) -> None:
    pax = with_header(tar_bytes([("x", extra)])[: 512 + 512], type=b"x")
    with pytest.raises(ShardError, match="pax header"):
        read(pax + tar_bytes([("a.jpg", b"content")]))


def test_a_pax_bomb_is_refused_by_its_size() -> None:
    bomb = with_header(tar_bytes([("x", bytes(2 << 20))]), type=b"x")
    with pytest.raises(ShardError, match="extended header at byte 0 has 2097152 bytes"):
        read(bomb)


def test_a_chain_of_extended_headers_is_refused() -> None:
    link = with_header(tar_bytes([("x", b"name\0")])[:1024], type=b"L")
    with pytest.raises(ShardError, match="more than 8 extended headers"):
        read(link * 10_000)


def test_a_long_name_with_a_wrong_length_is_no_other_name() -> None:
    data = tar_bytes([("n" * 120 + ".jpg", b"content")], format=tarfile.GNU_FORMAT)
    assert data[156:157] == b"L"
    assert len(read(data)) == 1
    with pytest.raises(ShardError, match="long name at byte 0 goes on after its end"):
        read(with_header(data, size=2))
    broken = data[:124] + b"0000000002\x004" + data[136:]
    with pytest.raises(ShardError, match=r"octal"):
        read(with_header(broken))


def test_a_gzip_bomb_is_stopped() -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(with_header(tar_bytes([("a.jpg", b"")])[:512], size=40 << 30))
        for _ in range(300):
            file.write(bytes(1 << 20))
    with pytest.raises(ShardError, match="gzip bomb"):
        read(buffer.getvalue())


def test_pickles_are_bytes_like_any_other(tmp_path: Path) -> None:
    target = tmp_path / "loaded"

    class Malicious:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(target),)

    payload = pickle.dumps(Malicious())
    for extension in ("pkl", "pyd", "pt", "pth", "npy"):
        (sample,) = read(tar_bytes([("a.jpg", make_jpeg()), (f"a.{extension}", payload)]))
        assert sample.fields[extension] == payload
    assert not target.exists()
