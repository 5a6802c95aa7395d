"""Exact top-k over a large bank against the bare matmul in the same blocks, in one run.

    python tests/benchmarks/topk.py --labels 1000000 --dim 512 --precision bfloat16 --threads 2

The two are timed in turn, so that a machine whose speed drifts slows both; the ratio is of the fastest of each.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch

from curator.kernels.ranking import rank, top_k
from curator.kernels.vectors import l2_normalize


def measure(functions: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Seconds of the fastest call of each."""
    fastest = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if device != "cpu":
                torch.cuda.synchronize()
            fastest[name] = min(fastest[name], time.perf_counter() - start)
    return fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, options.precision)
    bank = torch.empty(options.labels, options.dim, dtype=dtype)
    for start in range(0, options.labels, 65_536):
        block = bank[start : start + 65_536]
        block.copy_(l2_normalize(torch.randn(block.shape, generator=generator)))
    bank = bank.to(options.device)

    print(f"{options.labels:,} x {options.dim} {options.precision} on {options.device}, k={options.k}")
    for rows in options.batches:
        queries = l2_normalize(torch.randn(rows, options.dim, generator=generator)).to(options.device, dtype)
        height = min(131_072, max(4_096, (1 << 24) // rows))
        columns = queries.T.contiguous()
        products = torch.empty(height, rows, dtype=dtype, device=options.device)

        def bare(height: int = height, columns: torch.Tensor = columns, products: torch.Tensor = products) -> None:
            for start in range(0, options.labels, height):
                block = bank[start : start + height]
                torch.mm(block, columns, out=products[: len(block)])

        def ours(queries: torch.Tensor = queries) -> None:
            top_k(queries, bank, options.k)

        def with_softmax(queries: torch.Tensor = queries) -> None:
            rank(queries, bank, options.k, scale=100.0)

        seconds = measure({"matmul": bare, "top_k": ours, "softmax": with_softmax}, options.repeats, options.device)
        ratios = ", ".join(f"{name} {seconds[name] / seconds['matmul']:.2f}x" for name in ("top_k", "softmax"))
        print(f"batch {rows:5d}: matmul {seconds['matmul'] * 1e3:8.1f} ms, {ratios}")
    print(f"peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
