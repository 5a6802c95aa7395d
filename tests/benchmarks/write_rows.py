"""Rows per second that the sink writes and the readers read: a user's figure for what Parquet costs a run."""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from curator.data import ColumnSpec, Labels, RowRecord, Rows
from curator.storage import LocalStorage
from curator.tables.readers import count_values, part_url, scan
from curator.tables.schema import build_schema
from curator.tables.sink import ROW_GROUP_ROWS, PartWriter
from curator.tables.verify import verify_part


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--portion", type=int, default=256, help="rows given to one write, as a device batch would")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--labels", type=int, default=5, help="labels a row")
    parser.add_argument("--vocabulary", type=int, default=1000)
    parser.add_argument("--level", type=int, default=3, help="of zstd")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _portions(args: argparse.Namespace) -> list[Rows]:
    rng = np.random.default_rng(0)
    ids = tuple(f"n{i:08d}" for i in range(args.vocabulary))
    names = tuple(f"label number {i}" for i in range(args.vocabulary))
    portions = []
    for start in range(0, args.rows, args.portion):
        n = min(args.portion, args.rows - start)
        vectors = rng.standard_normal((n, args.dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        records = [
            RowRecord(
                key=f"{i:09d}",
                index=i,
                offset=512 * 200 * i,
                width=640,
                height=480,
                format="JPEG",
                sha256=hashlib.sha256(b"%d" % i).digest(),
                caption=f"a photograph of thing {i} on a table near the window",
                metadata=b'{"url": "https://example.org/%d.jpg", "licence": "CC0"}' % i,
                reject=None,
            )
            for i in range(start, start + n)
        ]
        labels = Labels(
            ids,
            names,
            rng.integers(0, args.vocabulary, (n, args.labels)),
            rng.random((n, args.labels), np.float32),
            np.full(n, args.labels),
        )
        flags = np.zeros(n, np.bool_)
        columns = {"things": labels, "things_abstained": flags, "clip_score": rng.random(n, np.float32)}
        portions.append(Rows("s3://bucket/shards/00000.tar", records, ~flags, vectors, columns))
    return portions


def main() -> None:
    args = _parse()
    pa.set_cpu_count(args.threads)
    schema = build_schema(
        args.dim,
        args.dtype,
        [
            ColumnSpec("things", "labels", "labels"),
            ColumnSpec("things_abstained", "flag", "abstained"),
            ColumnSpec("clip_score", "score", "score"),
        ],
    )
    portions = _portions(args)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        storage, url = LocalStorage(), part_url(folder, "bench")
        start, cpu = time.perf_counter(), time.process_time()
        with PartWriter(storage, url, schema, footer={}, level=args.level) as writer:
            for rows in portions:
                writer.write(rows)
            writer.commit()
        _say("write", args.rows, time.perf_counter() - start, time.process_time() - cpu)
        size = Path(url).stat().st_size
        raw = args.rows * args.dim * np.dtype(args.dtype).itemsize
        print(
            f"part {size / 1e6:.1f} MB, {size / args.rows:.0f} bytes a row (the raw embedding is {raw / args.rows:.0f})"
        )
        rss = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"peak memory grew by {rss:.0f} MiB; row groups of {ROW_GROUP_ROWS} rows")
        for name, work in {
            "scan all": lambda: sum(batch.num_rows for batch in scan(folder, storage)),
            "scan embedding": lambda: sum(batch.num_rows for batch in scan(folder, storage, ["embedding"])),
            "count values": lambda: count_values(folder, storage).rows,
            "verify": lambda: args.rows if not verify_part(url, storage, schema=schema, rows=args.rows) else 0,
        }.items():
            start, cpu = time.perf_counter(), time.process_time()
            assert work() == args.rows, name
            _say(name, args.rows, time.perf_counter() - start, time.process_time() - cpu)


def _say(name: str, rows: int, wall_s: float, cpu_s: float) -> None:
    print(f"{name:15} {rows / wall_s:12,.0f} rows/s   {wall_s:6.2f} s wall   {cpu_s:6.2f} s cpu")


if __name__ == "__main__":
    main()
