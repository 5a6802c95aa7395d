"""Every mutated shard ends in samples or a verdict: no other exception, no hang, bounded memory, no silent loss."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import tracemalloc

import pytest
import webdataset as wds

from curator.data import Preprocess, Sample
from curator.errors import SampleError, ShardError
from curator.shards.decode import Decoder
from curator.shards.reader import read_samples
from tests.builders import make_jpeg
from tests.shards.mutations import shard

MAX_MEMBER_BYTES = 1 << 20
PEAK_BYTES = 48 << 20
CASE_S = 5.0  # of this thread alone, so that a busy machine fails nothing
DECODE = Decoder(Preprocess((32, 32), (0.5,) * 3, (0.5,) * 3, resize_mode="squash"), max_pixels=1 << 20)


@pytest.fixture(scope="module", autouse=True)
def _decoded_before() -> None:
    """The first decode imports what it needs, which is no memory of the shard's."""
    decode(make_jpeg())


def run(data: bytes, *, salvage: bool) -> tuple[list[Sample], ShardError | None, str | None]:
    reader = read_samples(
        io.BytesIO(data), salvage=salvage, max_member_bytes=MAX_MEMBER_BYTES, max_sample_bytes=2 * MAX_MEMBER_BYTES
    )
    samples = []
    try:
        for sample in reader:
            samples.append(sample)
    except ShardError as error:
        return samples, error, reader.salvaged
    return samples, None, reader.salvaged


def reference(data: bytes) -> list[tuple[str, dict[str, bytes]]] | None:
    """webdataset's samples, or None where it gives up."""
    try:
        files = wds.tariterators.tar_file_expander([{"url": "u", "stream": io.BytesIO(data)}])
        samples = list(wds.tariterators.group_by_keys(files))
    except (tarfile.TarError, ValueError, OSError, EOFError, OverflowError, MemoryError):
        return None
    return [(_name(s["__key__"]), {_name(k): v for k, v in s.items() if k[:2] != "__"}) for s in samples]


def _name(name: str) -> str:
    raw = name.encode(errors="surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.replace(b"\\", b"\\\\").decode(errors="backslashreplace")


def decode(data: bytes) -> None:
    try:
        pixels = DECODE(data).pixels
    except SampleError:
        return
    assert pixels.shape == (3, 32, 32)


def check(seed: int) -> str:
    """Run one case; returns how it ended."""
    data = shard(seed)
    start = time.thread_time()
    tracemalloc.start()
    samples, error, _ = run(data, salvage=False)
    kept, salvage_error, salvaged = run(data, salvage=True)
    for sample in samples:
        if sample.fault is None and sample.image_extension is not None:
            decode(sample.fields[sample.image_extension])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < PEAK_BYTES
    assert time.thread_time() - start < CASE_S

    assert [sample.index for sample in samples] == list(range(len(samples)))
    assert len({sample.key for sample in samples}) == len(samples)
    assert all(sample.fields or sample.fault for sample in samples)
    for sample in samples:
        sample.key.encode()
    assert kept[: len(samples)] == samples or kept == samples[: len(kept)]
    if error is None:
        assert (kept, salvage_error, salvaged) == (samples, None, None)
        _agree(samples, data)
    else:
        assert "; " in str(error)
        assert (salvaged is None) == (salvage_error is not None)
    return "accepted" if error is None else "rejected"


def _agree(samples: list[Sample], data: bytes) -> None:
    """What was accepted is what webdataset sees; or more, where tarfile takes a bad field that we ignore for an end."""
    expected = reference(data)
    if expected is None or any(sample.fault for sample in samples):
        return
    ours = [(sample.key, dict(sample.fields)) for sample in samples]
    if ours != expected:
        assert expected[:-1] == ours[: len(expected) - 1]
        assert not expected or expected[-1][1].items() <= ours[len(expected) - 1][1].items()
        assert _stops_early(data)


def _stops_early(data: bytes) -> bool:
    """Whether tarfile takes a header that it cannot read for the end of the archive."""
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.getmembers()
        return data[tar.offset : tar.offset + 512].strip(b"\0") != b""


@pytest.mark.parametrize("batch", range(10))
def test_mutated_shards(batch: int) -> None:
    ends = [check(seed) for seed in range(batch * 32, batch * 32 + 32)]
    assert set(ends) == {"accepted", "rejected"}


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(60))
def test_many_mutated_shards(batch: int) -> None:
    for seed in range(1000 + batch * 100, 1000 + batch * 100 + 100):
        check(seed)
