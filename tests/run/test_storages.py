"""The main job gives the same rows wherever input and output lie, and whatever the network between does."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curator.config import Config
from curator.engine.compose import storage_of
from curator.engine.fleet import LeaseDone
from curator.engine.ledger import Ledger
from curator.engine.maintain import verify_output
from curator.engine.preview import preview_label
from curator.engine.progress import Progress, Summary
from curator.engine.run import label
from curator.errors import ConfigError
from tests.builders import make_samples, write_tar
from tests.faults.proxy import KINDS, FaultyProxy, Kind, Plan, SeededPlan
from tests.faults.s3_server import S3Server
from tests.run.jobs import Row, assert_same_rows, by_name, fetch_rows, job_config, local_fleet, read_rows, write_shards

MIB = 2**20
Rows = dict[tuple[str, str], Row]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards; the last has more metadata than fits one part of an upload or of a read."""
    folder = tmp_path_factory.mktemp("storages") / "shards"
    write_shards(folder, 3, samples=8)
    heavy = make_samples(4, seed=9000)
    for number, (_, fields) in enumerate(heavy):
        fields["json"] = b'{"noise": "%s"}' % random.Random(number).randbytes(2 * MIB).hex().encode()
    write_tar(folder / "0003.tar", heavy)
    return folder


@pytest.fixture(scope="module")
def expected(four: Path, tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    config = job_config(four, tiny_encoder_dir, tmp_path_factory.mktemp("expected") / "out")
    assert label(config, fleet=local_fleet(config)).status == "complete"
    rows = by_name(read_rows(config.output.url))
    assert len(rows) == 28
    return rows


@pytest.fixture
def bucket(s3_server: S3Server, four: Path, request: pytest.FixtureRequest) -> str:
    """A bucket with the shards under in/. Its name, and so the parts', is the test's own: faults are drawn by these."""
    name = s3_server.bucket(f"bucket-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}")
    for path in sorted(four.iterdir()):
        s3_server.client().put_object(Bucket=name, Key=f"in/{path.name}", Body=path.read_bytes(), ACL="public-read")
    return name


def remote(config: Config, endpoint_url: str, *urls: str, **storage: object) -> Config:
    """The config with other input and a storage section that suits a test."""
    waits = {"connect_timeout_s": 2.0, "read_timeout_s": 30.0, "backoff_s": 0.01, "backoff_cap_s": 0.05}
    tree = config.model_dump(exclude_none=True)
    tree["input"]["urls"] = urls or tree["input"]["urls"]
    tree["storage"] |= {"endpoint_url": endpoint_url, "addressing_style": "path", "part_bytes": MIB, **waits, **storage}
    return Config.model_validate(tree)


def run(config: Config) -> Summary:
    storage = storage_of(config)
    return label(config, fleet=local_fleet(config, storage), storage=storage)


def check(config: Config, server: S3Server, bucket: str, expected: Rows, folder: Path) -> None:
    storage = storage_of(config)
    assert_same_rows(by_name(fetch_rows(config.output.url, storage, folder)), expected)
    assert not any(problems for _, problems in verify_output(config.output.url, storage))
    assert server.pending_uploads(bucket) == []


def test_s3_in_and_out(
    four: Path, tiny_encoder_dir: Path, tmp_path: Path, s3_server: S3Server, bucket: str, expected: Rows
) -> None:
    config = job_config(four, tiny_encoder_dir, f"s3://{bucket}/out")
    config = remote(config, s3_server.endpoint_url, f"s3://{bucket}/in/")
    summary = run(config)
    assert summary.status == "complete", summary
    check(config, s3_server, bucket, expected, tmp_path / "parts")
    kept = Ledger(storage_of(config), config.output.url).run()
    assert kept is not None
    assert kept["settings"]["storage"]["conditional_writes"] is True
    assert not [key for key in _keys(s3_server, bucket) if "probe" in key or key.endswith("lock.json")]
    assert run(config).this_run["shards"] == 0


def test_http_in(
    four: Path, tiny_encoder_dir: Path, tmp_path: Path, s3_server: S3Server, bucket: str, expected: Rows
) -> None:
    config = job_config(four, tiny_encoder_dir, tmp_path / "out")
    config = remote(config, s3_server.endpoint_url, f"{s3_server.endpoint_url}/{bucket}/in/{{0000..0003}}.tar")
    summary = run(config)
    assert summary.status == "complete", summary
    assert_same_rows(by_name(read_rows(config.output.url)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_s3_through_a_faulty_network(
    kind: Kind,
    four: Path,
    tiny_encoder_dir: Path,
    tmp_path: Path,
    s3_server: S3Server,
    bucket: str,
    expected: Rows,
    make_proxy: Callable[[tuple[str, int], Plan], FaultyProxy],
) -> None:
    proxy = make_proxy((s3_server.host, s3_server.port), SeededPlan(seed=3, rate=0.2, kinds=(kind,)))
    config = job_config(four, tiny_encoder_dir, f"s3://{bucket}/out")
    config = remote(config, proxy.endpoint_url, f"s3://{bucket}/in/", read_timeout_s=0.5 if kind == "silent" else 30.0)
    summary = run(config)
    assert summary.status == "complete", summary
    assert proxy.faults()[kind] >= 5
    check(remote(config, s3_server.endpoint_url), s3_server, bucket, expected, tmp_path / "parts")


@pytest.mark.parametrize("conditions", ["ignore", "refuse"])
def test_an_endpoint_without_conditions_is_told_of_and_used(
    conditions: Any,
    four: Path,
    tiny_encoder_dir: Path,
    tmp_path: Path,
    s3_server: S3Server,
    bucket: str,
    expected: Rows,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(s3_server.layer, "conditions", conditions)
    config = job_config(four, tiny_encoder_dir, f"s3://{bucket}/out")
    config = remote(config, s3_server.endpoint_url, f"s3://{bucket}/in/")
    assert run(config).status == "complete"
    assert "never start two drivers" in caplog.text
    kept = Ledger(storage_of(config), config.output.url).run()
    assert kept is not None
    assert kept["settings"]["storage"]["conditional_writes"] is False
    check(config, s3_server, bucket, expected, tmp_path / "parts")


def test_a_changed_object_is_done_again(
    four: Path, tiny_encoder_dir: Path, tmp_path: Path, s3_server: S3Server, bucket: str
) -> None:
    config = job_config(four, tiny_encoder_dir, f"s3://{bucket}/out")
    config = remote(config, s3_server.endpoint_url, f"s3://{bucket}/in/")
    assert run(config).status == "complete"
    client = s3_server.client()
    client.put_object(Bucket=bucket, Key="in/0001.tar", Body=(four / "0002.tar").read_bytes())
    client.put_object(Bucket=bucket, Key="in/0004.tar", Body=(four / "0000.tar").read_bytes())
    client.delete_object(Bucket=bucket, Key="in/0002.tar")
    plan = preview_label(config).plan
    assert [shard.url for shard in plan.todo] == [f"s3://{bucket}/in/0001.tar", f"s3://{bucket}/in/0004.tar"]
    assert (len(plan.stale), len(plan.vanished)) == (1, 1)
    assert run(config).this_run["rows"] == 16
    rows = by_name(fetch_rows(config.output.url, storage_of(config), tmp_path / "parts"))
    assert len(rows) == 28 + 8
    assert rows["0001.tar", "000000"].sha256 == rows["0002.tar", "000000"].sha256


def test_one_driver_at_a_time_on_s3(
    four: Path, tiny_encoder_dir: Path, s3_server: S3Server, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = job_config(four, tiny_encoder_dir, f"s3://{bucket}/out")
    config = remote(config, s3_server.endpoint_url, f"s3://{bucket}/in/000{{0,1}}.tar")
    storage = storage_of(config)
    forsaken = {"owner": "x", "host": "gone", "machine": "m", "pid": 1, "started": 0.0, "beat": 0.0, "ttl_s": 60.0}
    storage.write(f"s3://{bucket}/out/_ledger/lock.json", json.dumps(forsaken).encode())
    refused = []

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone):
            with pytest.raises(ConfigError, match=r"another driver .* works on this output.*stop it, or wait"):
                run(config)
            refused.append(progress.settled)

    summary = label(config, fleet=local_fleet(config, storage), storage=storage, observe=observe)
    assert (summary.status, summary.totals["rows"]) == ("complete", 16)
    assert refused
    assert "taking over the stale lock of host gone" in caplog.text


def test_no_secret_is_written_or_said(
    four: Path,
    tiny_encoder_dir: Path,
    tmp_path: Path,
    s3_server: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    make_proxy: Callable[[tuple[str, int], Plan], FaultyProxy],
) -> None:
    secrets = ["planted-key-id", "planted-secret", "planted-token", "planted-password", "planted-signature"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", secrets[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secrets[1])
    monkeypatch.setenv("AWS_SESSION_TOKEN", secrets[2])
    caplog.set_level(logging.DEBUG, logger="curator")
    proxy = make_proxy((s3_server.host, s3_server.port), SeededPlan(seed=4, rate=0.2, kinds=("slow_down", "cut")))
    config = job_config(four, tiny_encoder_dir, f"s3://{bucket}/out")
    config = remote(config, proxy.endpoint_url, f"s3://{bucket}/in/", f"s3://{bucket}/missing.tar")
    assert run(config).status == "over_budget"
    said = []
    for url in (
        f"http://user:planted-password@127.0.0.1:{s3_server.port}/{bucket}/in/0000.tar",
        f"http://127.0.0.1:{s3_server.port}/{bucket}/in/0000.tar?X-Amz-Signature=planted-signature",
        f"s3://user:planted-password@{bucket}/in/0000.tar",
    ):
        with pytest.raises(ConfigError, match="password or a signature") as error:
            run(remote(config, proxy.endpoint_url, url))
        said.append(str(error.value))
    with pytest.raises(ConfigError) as error:
        run(remote(config, f"http://user:planted-password@127.0.0.1:{proxy.port}"))
    said.append(str(error.value))
    written = [s3_server.client().get_object(Bucket=bucket, Key=key)["Body"].read() for key in _keys(s3_server, bucket)]
    captured = capfd.readouterr()
    everything = "".join([*said, caplog.text, captured.out, captured.err]).encode() + b"".join(written)
    assert proxy.faults()
    assert b"storage fault" in everything
    assert [secret for secret in secrets if secret.encode() in everything] == []


def _keys(server: S3Server, bucket: str) -> list[str]:
    return [entry["Key"] for entry in server.client().list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", [])]
