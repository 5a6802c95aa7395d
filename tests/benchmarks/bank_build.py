"""A bank's build, unbroken and with kill -9 in between: captions a second, memory, and whether the banks are one.

python tests/benchmarks/bank_build.py --captions captions.txt --work DIR --kills 3 [--encoder NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "curator", "bank", "build"]


def start(captions: str, output: Path, encoder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "--captions", captions, "--output", str(output), "--encoder", encoder],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def receipts(output: Path) -> int:
    folder = output / "_build" / "_ledger" / "receipts"
    return len(list(folder.glob("*.json"))) if folder.is_dir() else 0


def finish(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Seconds of CPU and the largest resident memory in MiB of a build that ends by itself."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.wait():
        raise SystemExit(f"the build ended with status {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss // 1024


def facts(output: Path) -> dict[str, object]:
    told = json.loads((output / "bank.json").read_text())
    return {"digest": told["digest"], "vectors": told["vectors"]["sha256"], "count": told["count"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--encoder", default="embedded")
    asked = parser.parse_args()
    whole, broken = asked.work / "whole", asked.work / "broken"
    began = time.perf_counter()
    cpu_s, memory = finish(start(asked.captions, whole, asked.encoder))
    seconds = time.perf_counter() - began
    count = facts(whole)["count"]
    leases = receipts(whole)
    print(f"{count} captions in {seconds:.0f} s ({cpu_s:.0f} s of CPU), {leases} leases, {memory} MiB at most")
    print(f"load now {os.getloadavg()[0]:.1f}", flush=True)
    draw = random.Random(0)
    for kill in range(asked.kills):
        process = start(asked.captions, broken, asked.encoder)
        until = receipts(broken) + max(1, int(leases * draw.uniform(0.05, 0.8 / asked.kills)))
        while process.poll() is None and receipts(broken) < until:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"kill -9 number {kill + 1} at {receipts(broken)} of {leases} leases", flush=True)
    finish(start(asked.captions, broken, asked.encoder))
    print("whole ", facts(whole))
    print("broken", facts(broken))
    print("the same bank" if facts(whole) == facts(broken) else "NOT the same bank")


if __name__ == "__main__":
    main()
