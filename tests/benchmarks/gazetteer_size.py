"""Build a gazetteer of two million entities with eight million aliases, and load it: seconds and peak memory.

    python tests/benchmarks/gazetteer_size.py --work DIRECTORY [--entities 2000000] [--aliases 4]

Writes a made-up dump in Wikidata's shape (JSON lines), then runs each step in a process of its own, whose peak resident
memory is what the kernel says of it. Names are made of syllables, so that they are as different as real ones.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

SYLLABLES = [a + b for a in "bcdfghjklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il", "on", "us")]


def phrase(rng: random.Random) -> str:
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))).capitalize() for _ in range(rng.randint(1, 3))]
    return " ".join(words)


def make(path: Path, entities: int, aliases: int) -> None:
    rng = random.Random(0)
    with path.open("w") as file:
        for number in range(entities):
            item = {
                "id": f"Q{number + 1}",
                "labels": {"en": {"value": phrase(rng)}},
                "aliases": {"en": [{"value": phrase(rng)} for _ in range(aliases - 1)]},
                "descriptions": {"en": {"value": f"{phrase(rng).lower()} of {phrase(rng)}"}},
                "sitelinks": dict.fromkeys(map(str, range(rng.randint(0, 20))), 0),
            }
            file.write(json.dumps(item) + "\n")


def report(what: str, began: float, cpu: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    print(f"{what}: {wall:.1f} s ({used:.1f} s of one core), peak memory {peak:.2f} GB", flush=True)


def step_build(dump: Path, out: Path) -> None:
    from curator.entities.building import build
    from curator.entities.rules import Rules, stop_words
    from curator.entities.sources import read_wikidata
    from curator.storage import open_storage

    began, cpu = time.perf_counter(), time.process_time()
    built = build(read_wikidata(str(dump), open_storage()), out, Rules(stop_words()), {"kind": "wikidata"})
    print(f"{built.entities} entities, {built.aliases} aliases, left out {dict(built.dropped)}")
    print(f"file: {out.stat().st_size / 1e6:.0f} MB")
    report("build", began, cpu)


def step_load(out: Path) -> None:
    from curator.entities.gazetteer import Gazetteer
    from curator.entities.matching import Matcher

    began, cpu = time.perf_counter(), time.process_time()
    gazetteer = Gazetteer.open(out)
    match = Matcher(gazetteer)
    report("load", began, cpu)
    name = gazetteer.entity(len(gazetteer) // 2).name
    assert match(f"a picture of {name}, the best")[-1].end >= len("a picture of ")
    report("load and first caption", began, cpu)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--entities", type=int, default=2_000_000)
    parser.add_argument("--aliases", type=int, default=4)
    parser.add_argument("--step", choices=("build", "load"))
    args = parser.parse_args()
    dump, out = args.work / f"dump-{args.entities}.json", args.work / f"gazetteer-{args.entities}.arrow"
    if args.step == "build":
        return step_build(dump, out)
    if args.step == "load":
        return step_load(out)
    args.work.mkdir(parents=True, exist_ok=True)
    if not dump.exists():
        make(dump, args.entities, args.aliases)
    for step in ("build", "load"):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--step", step], check=True)


if __name__ == "__main__":
    main()
