"""Run one big job from local disk, from S3, through a faulty network, and through kills; compare all datasets.

    python -m tests.benchmarks.acceptance --shards DIR --vocabulary FILE --work DIR [--only NAME ...] [--encoder NAME]

Every variant is a `curator label` in a process of its own. "half-way" is when half of the receipts exist. Prints, for
each variant, images/s from the first worker's readiness on and whether its rows are those of the first: keys, labels
and embeddings to 1e-2 (float16), labels where the scores are more than 1e-4 apart.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.dataset

from curator.storage import Storage, StorageOptions, open_storage
from curator.tables.readers import parts
from tests.faults.proxy import FaultyProxy, SeededPlan
from tests.faults.s3_server import S3Server, throwaway_credentials

CURATOR = [sys.executable, "-c", "from curator.cli import main; main()"]
Hurt = Callable[[subprocess.Popen[bytes]], None]


def interrupt(program: subprocess.Popen[bytes]) -> None:
    """Ctrl-C of the driver."""
    program.send_signal(signal.SIGINT)


def kill_driver(program: subprocess.Popen[bytes]) -> None:
    """kill -9 of the driver; its actors die with it."""
    program.kill()


def kill_actor(program: subprocess.Popen[bytes]) -> None:
    """kill -9 of one actor of the driver's Ray."""
    for process in psutil.Process(program.pid).children(recursive=True):
        if "ray::_Shell" in " ".join(process.cmdline()):
            process.kill()
            return
    raise RuntimeError("no actor found")


def run(settings: argparse.Namespace, name: str, input_url: str, output: str, *options: str, hurt: Hurt | None) -> Any:
    """The job with ``options``; once half of it is done ``hurt`` it, and run it again where it has ended by that."""
    command = [
        *CURATOR, "label", "-i", input_url, "-o", output, "--vocabulary", settings.vocabulary, "--json",
        "--set", f"encoder.name={settings.encoder}", "--set", f"encoder.cache_dir={settings.work / 'cache'}",
        "--set", "run.reject_budget=0.5", "--set", "run.heartbeat_s=0.5", "--set", "run.grace_s=20", *options,
    ]  # fmt: skip
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"}
    log = (settings.work / f"{name}.log").open("wb")
    summaries: list[dict[str, Any]] = []
    for attempt in range(2):
        program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
        if hurt is not None and attempt == 0:
            wait_for_half(settings, output)
            hurt(program)
        said = program.communicate()[0]
        if said:
            summaries.append(json.loads(said))
        if program.returncode == 0:
            return summaries[-1], attempt + 1
    raise RuntimeError(f"{name}: did not end well, see {log.name}")


def wait_for_half(settings: argparse.Namespace, output: str) -> None:
    half = len(list(settings.shards.glob("*.tar"))) // 2
    while sum(1 for _ in settings.storage.list(f"{output}/_ledger/receipts/")) < half:
        time.sleep(0.2)


def read(storage: Storage, output: str, folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(shard name, key) -> row."""
    folder.mkdir()
    for entry in parts(output, storage):
        (folder / entry.url.rsplit("/", 1)[-1]).write_bytes(storage.read(entry.url))
    columns = ["shard", "key", "index", "status", "reason", "sha256", "labels", "embedding"]
    table = pyarrow.dataset.dataset(str(folder), format="parquet").to_table(columns=columns)
    rows = {(row["shard"].rsplit("/", 1)[-1], row["key"]): row for row in table.to_pylist()}
    if len(rows) != table.num_rows:
        raise RuntimeError(f"{output}: {table.num_rows} rows of {len(rows)} samples")
    return rows


def differences(found: dict[tuple[str, str], dict[str, Any]], expected: dict[tuple[str, str], dict[str, Any]]) -> str:
    """What differs, in words; empty where nothing does."""
    if found.keys() != expected.keys():
        return f"{len(found.keys() ^ expected.keys())} keys differ"
    worst, other, labels = 0.0, 0, 0
    for identity, row in expected.items():
        mine = found[identity]
        other += any(mine[name] != row[name] for name in ("index", "status", "reason", "sha256"))
        if row["status"] == "ok":
            worst = max(worst, float(np.abs(np.subtract(mine["embedding"], row["embedding"])).max()))
            labels += not same_labels(mine["labels"], row["labels"])
    if other or labels or worst > 1e-2:
        return f"{other} rows and {labels} labels differ, embeddings by up to {worst:.1e}"
    return ""


def same_labels(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """The same labels in the same order, but for neighbours whose scores are equal to rounding."""
    if [label["label_id"] for label in found] == [label["label_id"] for label in expected]:
        return True
    return all(abs(a["score"] - b["score"]) < 1e-4 for a, b in zip(found, expected, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--encoder", default="embedded")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--fault-rate", type=float, default=0.1)
    settings = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    settings.work.mkdir(parents=True, exist_ok=True)
    with throwaway_credentials():
        server = S3Server()
        proxy = FaultyProxy((server.host, server.port), SeededPlan(seed=1, rate=settings.fault_rate))
        settings.storage = open_storage(StorageOptions(endpoint_url=server.endpoint_url, addressing_style="path"))
        bucket = server.bucket()
        for path in sorted(settings.shards.glob("*.tar")):
            server.client().upload_file(str(path), bucket, f"in/{path.name}")
        failed = compare(settings, server, proxy, bucket)
        proxy.close()
        server.stop()
    sys.exit(1 if failed else 0)


def compare(settings: argparse.Namespace, server: S3Server, proxy: FaultyProxy, bucket: str) -> int:
    disk, inside = str(settings.shards), f"s3://{bucket}/in/"
    path_style = ("--set", "storage.addressing_style=path", "--set", "storage.backoff_s=0.02")
    direct = (*path_style, "--set", f"storage.endpoint_url={server.endpoint_url}")
    faulty = (
        *path_style, "--set", f"storage.endpoint_url={proxy.endpoint_url}", "--set", "storage.read_timeout_s=3",
        "--set", "storage.attempts=8",
    )  # fmt: skip
    ray = ("--backend", "ray", "--set", "ray.workers=2")
    variants: dict[str, tuple[str, tuple[str, ...], Hurt | None]] = {
        "local": (disk, (), None),
        "local-s3": (inside, direct, None),
        "local-s3-faulty": (inside, faulty, None),
        "local-interrupted": (disk, (), interrupt),
        "local-driver-killed": (disk, (), kill_driver),
        "local-s3-faulty-killed": (inside, faulty, kill_driver),
        "ray": (disk, ray, None),
        "ray-s3": (inside, (*ray, *direct), None),
        "ray-s3-faulty": (inside, (*ray, *faulty), None),
        "ray-interrupted": (disk, ray, interrupt),
        "ray-actor-killed": (disk, ray, kill_actor),
        "ray-driver-killed": (disk, ray, kill_driver),
    }
    chosen = [name for name in variants if not settings.only or name in settings.only]
    expected, failed = None, 0
    for name in chosen:
        input_url, options, hurt = variants[name]
        output = f"s3://{bucket}/out-{name}" if input_url == inside else str(settings.work / f"out-{name}")
        played = sum(proxy.faults().values())
        begun = time.monotonic()
        summary, runs = run(settings, name, input_url, output, *options, hurt=hurt)
        elapsed_s = time.monotonic() - begun
        rows = read(settings.storage, output, settings.work / f"parts-{name}")
        expected = expected or rows
        verdict = differences(rows, expected)
        pending = server.pending_uploads(bucket)
        failed += bool(verdict)
        working_s = summary["elapsed_s"] - (summary["startup_s"] or 0.0)
        print(
            f"{name:24} {len(rows)} rows, {summary['this_run']['rows'] / working_s:6.1f} images/s, {runs} run(s), "
            f"{elapsed_s:5.1f} s in all, {sum(proxy.faults().values()) - played} faults, "
            f"{len(pending)} uploads left: {verdict or 'the same rows'}",
            flush=True,
        )
    print(f"{len(chosen)} variants, {failed} differ; faults played: {dict(proxy.faults())}")
    return failed


if __name__ == "__main__":
    main()
