"""Set every head side by side on a run over labelled pictures: accuracy, calibration and time, as a Markdown table.

    curator label --input SHARDS --output RUN --vocabulary labels.txt
    python tests/benchmarks/heads_accuracy.py RUN --truth caption --vocabulary labels.txt \\
        [--where design=noto] [--templates simple] [--options heads.json] [--only zero_shot dclip] [--json]

Heads that need a file get it from ``--options``: a JSON of options by head, {"cupl": {"descriptions": "cupl.json"}}. A
head that cannot be made without one is listed with the reason. ``plain`` is zero_shot with "a photo of a {}." alone;
``--where`` keeps the rows whose json says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch

from curator.data import Embeddings
from curator.engine.compose import run_encoder
from curator.errors import CuratorError
from curator.evaluation.compare import predict
from curator.evaluation.measure import evaluate
from curator.evaluation.page import interval
from curator.evaluation.predictions import labelled_sample
from curator.evaluation.truth import read_truth
from curator.kernels.names import plain
from curator.labels.heads import HEADS, LabelSetSpec, prepare_heads, read_spec
from curator.labels.templates import template_set
from curator.labels.vocabulary import Vocabulary
from curator.storage import open_storage


def timed(head: Any, block: Embeddings) -> float:
    began = time.perf_counter()
    head(block)
    return time.perf_counter() - began


def main() -> None:
    """Parse the arguments, score the labelled rows by every head, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--truth", required=True)
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--where", help="FIELD=VALUE of the json of the rows to judge by")
    parser.add_argument("--templates", default="simple")
    parser.add_argument("--options", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples of the intervals")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(arguments.threads)
    options: dict[str, Any] = json.loads(arguments.options.read_text()) if arguments.options else {}
    vocabulary, templates = Vocabulary.load(arguments.vocabulary), template_set(arguments.templates)
    known = {plain(text) for label in vocabulary.labels for text in (label.id, label.name)}
    truth = read_truth(arguments.truth)
    field, _, value = (arguments.where or "").partition("=")
    where = read_truth(f"json.{field}")

    def in_vocabulary(*row: Any) -> tuple[str, ...] | None:
        if field and where(*row) != (value,):
            return None
        labels = tuple(label for label in truth(*row) or () if plain(label) in known)
        return labels or None

    storage = open_storage()
    sample = labelled_sample(arguments.run, storage, in_vocabulary, limit=arguments.limit)
    config, encoder = run_encoder(arguments.run, storage)
    specs = {"plain": LabelSetSpec("labels", vocabulary, template_set("photo"))}
    for name in HEADS:
        specs[name] = LabelSetSpec("labels", vocabulary, templates, head=name, options=options.get(name, {}))
    rows = []
    for name, spec in specs.items():
        if arguments.only and name not in arguments.only:
            continue
        try:
            began = time.perf_counter()
            (head,) = prepare_heads([read_spec(spec, open_storage())], encoder, cache_dir=config.encoder.cache_dir)
            prepared = time.perf_counter()
            measures = evaluate(predict(head, sample), samples=arguments.samples)["measures"]
            block = Embeddings(torch.from_numpy(sample.vectors[:2048]), sample.captions[:2048], sample.metadata[:2048])
            took_s = min(timed(head, block) for _ in range(3))
        except CuratorError as error:
            rows.append({"head": name, "left_out": str(error)})
            continue
        rows.append(
            {
                "head": name,
                "measures": measures,
                "prepare_s": round(prepared - began, 2),
                "images_per_s": round(len(block.vectors) / took_s),
            }
        )
    if arguments.json:
        print(json.dumps({"rows": len(sample.truth), "labels": len(vocabulary), "heads": rows}, indent=1))
        return
    print(f"{len(sample.truth)} pictures, {len(vocabulary)} labels, {len(templates)} templates, {encoder.name}\n")
    print("| head | top-1 % (95 %) | top-5 % | macro % | ECE % | images/s |\n|---|---|---|---|---|---|")
    for row in rows:
        if "left_out" in row:
            print(f"| {row['head']} | left out: {row['left_out']} | | | | |")
            continue
        made = row["measures"]
        shown = [f"{100 * made[each]['value']:.1f}" if each in made else "" for each in ("top5", "macro", "ece")]
        print(f"| {row['head']} | {interval(made['top1'])} | {' | '.join(shown)} | {row['images_per_s']} |")


if __name__ == "__main__":
    main()
