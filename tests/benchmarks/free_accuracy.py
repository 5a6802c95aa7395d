"""Measure labels without a vocabulary on a run over labelled pictures: exact-or-synonym accuracy against chance.

    curator label --input SHARDS --output RUN --vocabulary labels.txt
    python tests/benchmarks/free_accuracy.py RUN --truth caption [--only words cased] [--threads 1] [--json]
        [--bank BANK] [--options free.json]

A label is right when it equals the true name (case, separators and the plural of the last word do not count), or when
the two have a sense in common in WordNet. Chance is 1 / N for the best label and 5 / N for the best five, where N is
how many words the method can say: the words of its list, the nouns of its decoder, the different candidate words of all
captions of its bank. ``random word`` is what a word drawn from these N is right by: more than 1 / N where several words
are right, less where a true name has none among them. ``--options`` is a JSON of options by method.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator.annotators import Annotator, AnnotatorSpec, Means, TextVectors
from curator.captions import CaptionBank
from curator.data import Embeddings, Labels
from curator.engine.compose import run_encoder
from curator.errors import CuratorError
from curator.evaluation.predictions import Sample, labelled_sample
from curator.evaluation.truth import read_truth
from curator.free import METHODS
from curator.free.merging import folded
from curator.free.nouns import words_of
from curator.free.novic.weights import EMBEDDED, from_bytes
from curator.free.pos import open_filter
from curator.kernels.candidates import words_of as caption_words
from curator.kernels.metrics import bootstrap
from curator.kernels.plurals import singular
from curator.storage import Storage, open_storage
from curator.wordnet.lexicon import lexicon

BATCH = 64
ROWS = 2048
DEFAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "words": ("words", {}),
    "words, captions vote": ("words", {"bank": "embedded"}),
    "cased": ("cased", {}),
    "novic": ("novic", {}),
    "words, those of novic": ("words", {"words": list(from_bytes(EMBEDDED.read_bytes(), "embedded").nouns)}),
}


def right(label: str, truth: Sequence[str]) -> bool:
    """Whether a label is one of the true names in other letters, or a synonym of one."""
    one = folded(label)
    return any(one == (name := folded(each)) or lexicon().synonyms(one, name) for each in truth)


def sayable(spec: AnnotatorSpec, annotator: Any, storage: Storage) -> Sequence[str]:
    """The words that the method can say."""
    if spec.method == "words":
        return words_of(spec, "words")
    if spec.method == "novic":
        return list(annotator._names)
    bank = CaptionBank.open(spec.options.get("bank", "embedded"), storage)
    keep = open_filter(spec.options.get("pos", "wordnet"))
    found: set[str] = set()
    for start in range(0, bank.count, ROWS):
        texts = bank.texts(np.arange(start, min(start + ROWS, bank.count)))
        found.update(word for words in keep([caption_words(text, singular) for text in texts]) for word in words)
    return sorted(found)


def said(annotator: Annotator, sample: Sample) -> list[list[str]]:
    rows = []
    for start in range(0, len(sample.truth), BATCH):
        part = slice(start, start + BATCH)
        values = annotator(
            Embeddings(torch.from_numpy(sample.vectors[part]), sample.captions[part], sample.metadata[part])
        )
        labels = values[annotator.name]
        assert isinstance(labels, Labels)
        rows += [
            [labels.names[code] for code in row[:count]]
            for row, count in zip(labels.indices.tolist(), labels.counts.tolist(), strict=True)
        ]
    return rows


def of_random_words(words: Sequence[str], truth: Sequence[Sequence[str]]) -> float:
    """The share of pictures that a word drawn from ``words`` is right for."""
    senses, forms = dict[int, set[int]](), dict[str, set[int]]()
    for row, word in enumerate(words):
        forms.setdefault(folded(word), set()).add(row)
        for synset in lexicon().synsets(folded(word)):
            senses.setdefault(synset, set()).add(row)
    shares = []
    for names in truth:
        found = set[int]()
        for name in map(folded, names):
            found |= forms.get(name, set()).union(*(senses.get(s, set()) for s in lexicon().synsets(name)))
        shares.append(len(found) / len(words))
    return float(np.mean(shares))


def measured(name: str, spec: AnnotatorSpec, means: Means, sample: Sample, samples: int) -> dict[str, Any]:
    """Accuracy with its interval, chance, and speed of one method, after a first pass that fills its caches."""
    method = METHODS[spec.method]
    spec = method.read(spec, means.storage)
    annotator = method.open(spec, means)
    rows = said(annotator, sample)
    began = time.process_time()  # of the processor: whoever else uses the machine does not count
    said(annotator, sample)
    took_s = time.process_time() - began
    words = sayable(spec, annotator, means.storage)
    row: dict[str, Any] = {"method": name, "words": len(words), "images_per_core_s": round(len(rows) / took_s)}
    row["random_word"] = of_random_words(words, sample.truth)
    for top in (1, 5):
        hits = np.array([any(right(label, truth) for label in labels[:top])
                         for labels, truth in zip(rows, sample.truth, strict=True)])  # fmt: skip
        low, high = bootstrap(lambda drawn, hits=hits: float(hits[drawn].mean()), len(hits), samples=samples)
        chance = top / len(words)
        row[f"top{top}"] = {
            "value": float(hits.mean()), "low": low, "high": high, "chance": chance,
            "times_chance": float(hits.mean()) / chance,
        }  # fmt: skip
    return row


def main() -> None:
    """Parse the arguments, label the pictures by every method, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--truth", required=True)
    parser.add_argument("--bank", default="embedded")
    parser.add_argument("--options", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples of the intervals")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    extra: dict[str, Any] = json.loads(arguments.options.read_text()) if arguments.options else {}
    storage = open_storage()
    sample = labelled_sample(arguments.run, storage, read_truth(arguments.truth), limit=arguments.limit)
    _, encoder = run_encoder(arguments.run, storage)
    torch.set_num_threads(arguments.threads)  # opening the encoder has set as many as the run had
    rows: list[dict[str, Any]] = []
    for name, (method, options) in DEFAULTS.items():
        if arguments.only and name not in arguments.only:
            continue
        banked = {"bank": arguments.bank} if method == "cased" or "bank" in options else {}
        spec = AnnotatorSpec("free", method, {**options, **banked, **extra.get(name, {})})
        means = Means(encoder, TextVectors(encoder), storage, None, arguments.threads)
        try:
            rows.append(measured(name, spec, means, sample, arguments.samples))
        except CuratorError as error:
            rows.append({"method": name, "left_out": str(error)})
    if arguments.json:
        print(json.dumps({"pictures": len(sample.truth), "methods": rows}, indent=1))
        return
    print(f"{len(sample.truth)} pictures, {encoder.name}\n")
    print(
        "| method | words | top-1 % (95 %) | x chance | top-5 % | x chance | random word % | images per core second |"
    )
    print("|---|---:|---|---:|---|---:|---:|---:|")
    for row in rows:
        if "left_out" in row:
            print(f"| {row['method']} | left out: {row['left_out']} | | | | | | |")
            continue
        one, five = row["top1"], row["top5"]
        shown = [f"{100 * each['value']:.1f} ({100 * each['low']:.1f} to {100 * each['high']:.1f}) | "
                 f"{each['times_chance']:.0f}" for each in (one, five)]  # fmt: skip
        print(
            f"| {row['method']} | {row['words']:,} | {' | '.join(shown)} | {100 * row['random_word']:.3f} "
            f"| {row['images_per_core_s']} |"
        )


if __name__ == "__main__":
    main()
