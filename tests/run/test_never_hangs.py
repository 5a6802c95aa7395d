"""What never returns, on the local backend: decode, device, head, storage. Each ends with a name and in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config
from curator.data import Decoded
from curator.engine.backends.local import LocalFleet
from curator.engine.compose import plan_worker, wire_worker
from curator.engine.run import label
from curator.storage import ReadStream, Router, open_storage
from tests.run.jobs import Row, assert_same_rows, job_config, open_encoder, read_rows

STALL_S = 3.0  # more than a busy machine keeps a thread waiting


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set at the end of the test, so that what hangs in it ends."""
    event = threading.Event()
    yield event
    event.set()


class Hanging:
    """Calls go through until number ``at``, which blocks; later ones pass again."""

    def __init__(self, call: Callable[..., Any], release: threading.Event, at: int) -> None:
        self._call = call
        self._release = release
        self._left = at
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            self._left -= 1
            mine = self._left == 0
        if mine:
            self._release.wait(100)
        return self._call(*arguments, **options)


class HangingEncoder:
    def __init__(self, encoder: Any, release: threading.Event) -> None:
        self._encoder = encoder
        self.embed_pixels = Hanging(encoder.embed_pixels, release, at=2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


class SilentStorage(Router):
    """One read of one shard blocks, once for all workers: a network without timeouts, or a dead mount."""

    def __init__(self, router: Router, release: threading.Event, shard: str) -> None:
        super().__init__(router.options)
        self._shard = shard
        self._hang = Hanging(lambda: None, release, at=1)

    def open(self, url: str, **options: Any) -> ReadStream:
        if url.endswith(self._shard):
            self._hang()
        return super().open(url, **options)


def build_fleet(
    config: Config, wire: Callable[..., Any] = wire_worker, storage: Any = None, **parts: Any
) -> LocalFleet:
    plan = plan_worker(config)
    encoder = parts.get("encoder") or open_encoder(config.encoder.name)
    return LocalFleet(lambda: wire(plan, encoder, storage or open_storage()), in_flight=config.run.in_flight)


def test_a_device_that_never_returns(
    shards: Path,
    tiny_encoder_dir: Path,
    tmp_path: Path,
    undisturbed: dict[str, Row],
    release: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = job_config(shards, tiny_encoder_dir, tmp_path / "out", stall_s=STALL_S, attempts=2)
    fleet = build_fleet(config, encoder=HangingEncoder(open_encoder(config.encoder.name), release))
    summary = label(config, fleet=fleet)
    assert summary.status == "complete", summary
    assert_same_rows(read_rows(config.output.url), undisturbed)
    lost = [record.getMessage() for record in caplog.records if "worker lost" in record.getMessage()]
    assert any(str(shards) in line and "stands in stage device" in line for line in lost), lost


def test_a_head_that_never_returns(
    shards: Path,
    tiny_encoder_dir: Path,
    tmp_path: Path,
    undisturbed: dict[str, Row],
    release: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = job_config(shards, tiny_encoder_dir, tmp_path / "out", stall_s=STALL_S)
    hanging = Hanging(lambda: None, release, at=2)

    def wire(*arguments: Any) -> Any:
        worker = wire_worker(*arguments)
        heads = worker._intake._batcher._heads
        inner = heads[0]

        def head(embeddings: Any) -> Any:
            hanging()
            return inner(embeddings)

        worker._intake._batcher._heads = [head]
        return worker

    summary = label(config, fleet=build_fleet(config, wire))
    assert summary.status == "complete", summary
    assert_same_rows(read_rows(config.output.url), undisturbed)
    assert "stands in stage label" in caplog.text


def test_a_storage_that_goes_silent(
    shards: Path,
    tiny_encoder_dir: Path,
    tmp_path: Path,
    undisturbed: dict[str, Row],
    release: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = job_config(shards, tiny_encoder_dir, tmp_path / "out", stall_s=STALL_S)
    storage = SilentStorage(open_storage(), release, "0002.tar")
    summary = label(config, fleet=build_fleet(config, storage=storage))
    assert summary.status == "complete", summary
    assert_same_rows(read_rows(config.output.url), undisturbed)
    assert f"{shards / '0002.tar'} stands in stage read at row 0" in caplog.text


def test_a_decode_that_loops_for_ever_is_a_reject(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row], release: threading.Event
) -> None:
    config = job_config(shards, tiny_encoder_dir, tmp_path / "out")
    config = Config.model_validate(
        {**config.model_dump(), "decode": {"workers": "threads", "threads": 2, "image_limit_s": STALL_S}}
    )
    hanging = Hanging(lambda: None, release, at=7)

    def wire(*arguments: Any) -> Any:
        worker = wire_worker(*arguments)
        inner = worker._intake._pool._decode

        def decode(data: bytes) -> Decoded:
            hanging()
            decoded: Decoded = inner(data)
            return decoded

        worker._intake._pool._decode = decode
        return worker

    summary = label(config, fleet=build_fleet(config, wire))
    assert summary.status == "complete", summary
    rows = read_rows(config.output.url)
    late = [identity for identity, row in rows.items() if row.reason == "decode_timeout"]
    assert len(late) == 1
    assert rows[late[0]].sha256 == undisturbed[late[0]].sha256
    others = {identity: row for identity, row in undisturbed.items() if identity != late[0]}
    assert_same_rows({identity: row for identity, row in rows.items() if identity != late[0]}, others)
