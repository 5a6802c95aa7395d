"""What a large caption bank costs a run: search by batch size, memory, and CaSED beside the encoder's forward.

    python -m tests.benchmarks.bank_search --words /usr/share/wordnet --work DIR [--threads 1] [--cased]
    python -m tests.benchmarks.bank_search ... --index ivf

The bank is of seeded random vectors under plausible captions, as if ViT-B-32 (random weights) had embedded them: what a
search costs does not depend on what they mean. With --cased, forward and annotator are timed in turn in one process and
thread, as the lanes of a worker run them; the share is what CaSED takes of a run that is bound by its cores. Its
captions are of few nouns (--nouns); it is measured while these are new, and once their vectors are known.

What a bank costs that is not in memory yet: the search is of pages that were dropped, from opening the bank on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from curator.annotators import AnnotatorSpec, Means, TextVectors
from curator.captions import CaptionBank
from curator.captions.facts import FACTS, BankFacts, content_digest, text_key
from curator.captions.writer import BankWriter
from curator.data import Embeddings
from curator.encoder import Encoder
from curator.kernels.vectors import l2_normalize
from curator.storage import join, open_storage
from tests.benchmarks.bank_captions import captions

BLOCK = 50_000
ENCODER = ("ViT-B-32", "random")
_FIRST = 16  # batches: a thousand images at 64


def blocks(count: int, dim: int) -> Iterator[tuple[int, np.ndarray]]:
    generator = torch.Generator().manual_seed(0)
    for start in range(0, count, BLOCK):
        rows = l2_normalize(torch.randn(min(BLOCK, count - start), dim, generator=generator))
        yield start, rows.half().numpy()


def write(work: Path, words: Path, count: int, nouns: int, encoder: Encoder) -> str:
    """The url of a bank of ``count`` captions, written unless it is there."""
    url = str(work / f"bank-{count}-{nouns}")
    if (Path(url) / FACTS).is_file():
        return url
    storage = open_storage()
    texts = [f"{text}, {number}" for number, text in enumerate(captions(words, count, most_words=nouns))]
    digest = content_digest(encoder.digest, "bfloat16", encoder.dim, b"".join(map(text_key, texts)))
    with BankWriter(storage, url, name=digest[:16], dim=encoder.dim, count=count) as writer:
        for start, rows in blocks(count, encoder.dim):
            writer.append(rows, texts[start : start + len(rows)])
        vectors, stored = writer.commit()
    facts = BankFacts(
        digest, encoder.name, encoder.digest, "bfloat16", encoder.dim, count, vectors, stored, {"read": count}
    )
    storage.write(join(url, FACTS), facts.to_json())
    return url


def fastest(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Milliseconds of wall clock and of the process's CPU, of the best call each."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return 1e3 * min(walls), 1e3 * min(cpus)


def memory() -> dict[str, int]:
    """MiB of this process: its own, and of mapped files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(fields[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}


def cased_share(bank: str, encoder: Encoder, work: Path, batch: int, repeats: int) -> None:
    from curator.free import METHODS

    storage = open_storage()
    method = METHODS["cased"]
    spec = method.read(AnnotatorSpec("free", "cased", {"bank": bank}), storage)
    texts = TextVectors(encoder)
    cased = method.open(spec, Means(encoder, texts, storage, str(work / "cache"), 1))
    opened = cased._bank
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (batch, 3, 224, 224), dtype=torch.uint8, generator=generator)

    def annotate() -> None:
        vectors = l2_normalize(torch.randn(batch, encoder.dim, generator=generator))
        cased(Embeddings(vectors, [None] * batch, [None] * batch))

    annotate()  # maps the bank, reads the lexicon
    new: list[float] = []
    missed, before = 1, 0
    while missed > 0.01 * (texts.hits + texts.misses - before):  # until the words that captions are made of are known
        missed, before = -texts.misses, texts.hits + texts.misses
        new.append(fastest(annotate, 1)[1])
        missed += texts.misses
    forward, annotating, searching = [], [], []
    queries = l2_normalize(torch.randn(batch, encoder.dim, generator=generator))
    for _ in range(repeats):
        forward.append(fastest(lambda: encoder.embed_pixels(pixels), 1)[1])
        annotating.append(fastest(annotate, 1)[1])
        searching.append(fastest(lambda: opened.search(queries, 10), 1)[1])
    first = float(np.median(new[:_FIRST]))
    one, other, third = float(np.median(forward)), float(np.median(annotating)), float(np.median(searching))
    print(
        f"batch {batch}, ms of CPU (median of {repeats}): forward {one:.0f}, CaSED {other:.0f} "
        f"(its search {third:.0f}): CaSED takes {other / (one + other):.1%} of the throughput, "
        f"{first / (one + first):.1%} in the first {len(new[:_FIRST])} batches, whose words are new"
    )


def cold(url: str, cache: Path, queries: torch.Tensor) -> float:
    """Seconds from opening a bank to its first answer, where the system has dropped the pages of its files."""
    for path in (*Path(url).iterdir(), *cache.rglob("bfloat16.npy")):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
    began = time.perf_counter()
    CaptionBank.open(url, open_storage(), cache).search(queries, 10)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=Path, required=True, help="WordNet's dict directory")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--nouns", type=int, default=5_000, help="different nouns in the captions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--cased", action="store_true")
    parser.add_argument("--index", choices=["ivf", "hnsw", "pq"])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    encoder = Encoder.open(*ENCODER, precision="bfloat16")
    url = write(asked.work, asked.words, asked.count, asked.nouns, encoder)
    generator = torch.Generator().manual_seed(1)
    first = l2_normalize(torch.randn(64, encoder.dim, generator=generator))
    if any((asked.work / "cache").rglob("bfloat16.npy")):
        print(f"first search of 64 in a bank that is not in memory: {cold(url, asked.work / 'cache', first):.1f} s")
    before = memory()
    bank = CaptionBank.open(url, open_storage(), asked.work / "cache", encoder=encoder)
    bank.search(l2_normalize(torch.randn(1, bank.dim, generator=generator)), 10)
    for batch in asked.batches:
        queries = l2_normalize(torch.randn(batch, bank.dim, generator=generator))
        wall, cpu = fastest(lambda some=queries: bank.search(some, 10), asked.repeats)  # type: ignore[misc]
        print(f"exact search of {batch} in {len(bank)} x {bank.dim}: {wall:.0f} ms, {cpu:.0f} ms of CPU", flush=True)
    after = memory()
    print(f"memory since before the bank: { ({name: after[name] - before[name] for name in after}) } MiB")
    if asked.cased:
        for batch in asked.batches:
            cased_share(url, encoder, asked.work, batch, asked.repeats)
    if asked.index:
        approximate(bank, asked.index, asked.batches[0], asked.repeats)
    print(f"threads {asked.threads}, load {os.getloadavg()[0]:.1f}")


def approximate(bank: CaptionBank, kind: str, batch: int, repeats: int) -> None:
    """An index over vectors with neighbourhoods: random ones have none, and no index finds its way in them."""
    from curator.captions.index import build_index, rescored

    generator = torch.Generator().manual_seed(2)
    centres = l2_normalize(torch.randn(len(bank) // 50, bank.dim, generator=generator))
    owners = torch.randint(len(centres), (len(bank),), generator=generator)
    rows = torch.empty(len(bank), bank.dim, dtype=torch.float16)
    for start in range(0, len(bank), BLOCK):
        own = owners[start : start + BLOCK]
        noise = l2_normalize(torch.randn(len(own), bank.dim, generator=generator))
        rows[start : start + BLOCK] = l2_normalize(centres[own] + 0.8 * noise).half()
    began = time.perf_counter()
    index, factory, search, recall = build_index(kind, rows)
    seconds = time.perf_counter() - began
    queries = l2_normalize(rows[:batch].float() + l2_normalize(torch.randn(batch, bank.dim, generator=generator)))
    wall, cpu = fastest(lambda: rescored(index, queries, rows, 10), repeats)
    print(
        f"{kind} {factory} {search}: built in {seconds:.0f} s, recall@10 {recall:.3f}, "
        f"search of {batch}: {wall:.0f} ms, {cpu:.0f} ms of CPU"
    )


if __name__ == "__main__":
    main()
