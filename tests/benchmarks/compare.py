"""Curator, a plain Ray Data pipeline and clip-retrieval over the same shards and weights: images a second and memory.

    python tests/benchmarks/compare.py                        Curator (local, Ray) and Ray Data, generated shards
    python tests/benchmarks/compare.py --input 'shards/*.tar' --precision bfloat16 --decode exact close fast
    python tests/benchmarks/compare.py --clip-retrieval-python CR/bin/python

Every system embeds every image with the same randomly initialised open_clip weights (made once from a seed), in a
process of its own, one after the other and in turn (A B C D A B C D ...), so that a machine whose speed drifts slows
all of them; medians are shown. "images/s" counts from a loaded model to the last row written; "start and end" is the
rest of the process's life (imports, weights, Ray, shutting down). "peak RSS" is the sum over the process and all that
it started, sampled; pages that processes share count once for each. "images" is what the output holds. "cosine" is the
smallest over the images between a system's vectors and Curator's, so that all are seen to do the same work.

Precisions: clip-retrieval has only float32 on a CPU; the others run in each precision asked for. All get the same
batch size. Run it on a machine that does nothing else.

clip-retrieval (2.45.0) pins versions that cannot stand beside current ones. Its clip inference works with them all the
same, in an environment of its own that looks into this one:

    python -m venv CR
    python -c "import site; print(site.getsitepackages()[0])" > "$(echo CR/lib/python3.*/site-packages)/this.pth"
    CR/bin/pip install --no-deps clip-retrieval all-clip 'webdataset<0.3' clip-anytorch multilingual-clip fire \\
        termcolor faiss-cpu flask flask_restful flask_cors werkzeug itsdangerous blinker aniso8601 pytz autofaiss \\
        embedding-reader h5py prometheus-client 'sentence-transformers<3' 'transformers<5' 'tokenizers<=0.23.0' \\
        'huggingface-hub<1' scikit-learn joblib threadpoolctl scipy wandb img2dataset cloudpickle narwhals
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.compute
import pyarrow.dataset

from curator.bench.memory import PeakMemory

HERE = Path(__file__).parent
CURATOR = "curator-local"
SYSTEMS = (CURATOR, "curator-ray", "ray-data", "clip-retrieval")


@dataclass
class Runs:
    """What one system did in one precision, over all repetitions."""

    system: str
    precision: str
    decode: str = "exact"
    rates: list[float] = field(default_factory=list)
    other_s: list[float] = field(default_factory=list)
    peak_rss: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    vectors: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def run_once(runs: Runs, python: str, job: Mapping[str, Any], folder: Path, limit_s: float) -> None:
    """Run the system in a process of its own; add what it did to ``runs``. SystemExit with its output if it fails.

    The limit is needed: clip-retrieval waits for ever for its own logger after an error.
    """
    output = folder / "output"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "job.json").write_text(
        json.dumps({**job, "output": str(output), "precision": runs.precision, "decode": runs.decode})
    )
    arguments = [runs.system, str(folder / "job.json"), str(folder / "report.json")]
    started = time.monotonic()
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            [python, str(HERE / "compare_systems.py"), *arguments], stdout=log, stderr=log, cwd=folder
        )
        memory = PeakMemory(process.pid)
        try:
            status: int | str = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = f"no end after {limit_s:g} s"
            memory.kill()
    wall_s = time.monotonic() - started
    runs.peak_rss.append(memory.stop())
    if status:
        tail = (folder / "log.txt").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{runs.system} ended with {status}:\n{tail}")
    report = json.loads((folder / "report.json").read_text())
    runs.vectors = read_vectors(output)
    runs.versions = report["versions"]
    runs.images.append(len(runs.vectors))
    runs.rates.append(len(runs.vectors) / report["steady_s"])
    runs.other_s.append(wall_s - report["steady_s"])


def read_vectors(output: Path) -> dict[str, Any]:
    """Every image's vector by its key, whichever system wrote the output."""
    if (output / "img_emb").is_dir():
        parts = sorted((output / "img_emb").glob("*.npy"))
        names = pyarrow.dataset.dataset(output / "metadata").to_table()["image_path"].to_pylist()
        return dict(zip(names, np.concatenate([np.load(part) for part in parts]), strict=True))
    table = pyarrow.dataset.dataset(output).to_table()
    if "status" in table.column_names:
        table = table.filter(pyarrow.compute.equal(table["status"], "ok"))
    return dict(zip(table["key"].to_pylist(), map(np.asarray, table["embedding"].to_pylist()), strict=True))


def smallest_cosine(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    keys = sorted(one.keys() & other.keys())
    left, right = (np.stack([vectors[key] for key in keys]).astype(np.float64) for vectors in (one, other))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).min())


def make_weights(architecture: str, path: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(open_clip.create_model(architecture).state_dict(), path)


def show(all_runs: Sequence[Runs]) -> None:
    heading = (
        f"{'system':15} {'precision':9} {'decode':6} {'images/s':>9} {'Curator is':>10} {'each run':>24} "
        f"{'start and end':>13} {'peak RSS':>9} {'images':>7} {'cosine':>8}"
    )
    print(heading)
    for runs in all_runs:
        base = next(
            (each for each in all_runs if (each.system, each.precision) == (CURATOR, runs.precision)), all_runs[0]
        )
        print(
            f"{runs.system:15} {runs.precision:9} {runs.decode:6} {runs.rate:9.1f} {base.rate / runs.rate:9.2f}x "
            f"{' '.join(f'{rate:.1f}' for rate in runs.rates):>24} {statistics.median(runs.other_s):11.1f} s "
            f"{max(runs.peak_rss) / 2**30:5.2f} GiB {min(runs.images):7d} "
            f"{smallest_cosine(runs.vectors, base.vectors):8.5f}"
        )
    for runs in all_runs:
        print(f"{runs.system}: {', '.join(f'{name} {version}' for name, version in runs.versions.items())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", nargs="+", help="tar files (clip-retrieval needs 4 or more); else JPEGs are generated"
    )
    parser.add_argument("--generate", type=int, default=2000, help="how many to generate")
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--clip-retrieval-python", help="the interpreter of an environment with clip-retrieval")
    parser.add_argument("--precision", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--batch-size", type=int, default=64)
    modes = ["exact", "close", "fast"]
    parser.add_argument(
        "--decode", nargs="+", default=modes[:1], choices=modes, help="a row of curator-local each; others: exact"
    )
    parser.add_argument("--actors", type=int, help="of the Ray Data pipeline; by default one for each core")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds that one run may take")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=2.0)
    print(f"{cores} cores, {busy:.0f} % busy before the start, batches of {options.batch_size}")
    folder = Path(tempfile.mkdtemp(prefix="compare-"))
    try:
        if options.input is None:
            from curator.bench.generate import generate_shards

            options.input = sorted(map(str, generate_shards(folder / "shards", options.generate).glob("*.tar")))
        weights = folder / "weights.safetensors"
        make_weights(options.architecture, weights)
        job = {
            "shards": [str(Path(shard).absolute()) for shard in options.input],
            "weights": str(weights),
            "architecture": options.architecture,
            "batch_size": options.batch_size,
            "cores": cores,
            "actors": options.actors or cores,
        }
        all_runs = [
            Runs(system, precision, decode)
            for precision in options.precision
            for system in options.system
            for decode in (options.decode if system == CURATOR else modes[:1])
            if system != "clip-retrieval" or (options.clip_retrieval_python and precision == "float32")
        ]
        for turn in range(options.repeats):
            for runs in all_runs:
                python = options.clip_retrieval_python if runs.system == "clip-retrieval" else sys.executable
                run_once(runs, python, job, folder / "run", options.limit)
                print(f"{turn + 1}/{options.repeats} {runs.system} {runs.precision}: {runs.rates[-1]:.1f}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(all_runs)
    if options.json:
        figures = [{key: value for key, value in asdict(runs).items() if key != "vectors"} for runs in all_runs]
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
