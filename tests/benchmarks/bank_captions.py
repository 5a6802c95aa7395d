"""Plausible captions without end: words of a list (WordNet's, say) in a few sentences, seeded.

python tests/benchmarks/bank_captions.py --words /usr/share/wordnet --count 1000000 --output captions.txt
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

SENTENCES = (
    "a photo of a {a} {n}",
    "a {n} and a {m} on a table",
    "the {a} {n} in front of a {m}",
    "a {a} {n} with {m} in the background, taken in {y}",
    "{n}",
    "{a} {n} {m}",
)


def words(folder: Path, part: str) -> list[str]:
    """The words of one part of speech in WordNet's index."""
    lines = (folder / f"index.{part}").read_text(encoding="utf-8").splitlines()
    return [line.split()[0].replace("_", " ") for line in lines if not line.startswith("  ")]


def captions(folder: Path, count: int, seed: int = 0, *, most_words: int | None = None) -> Iterator[str]:
    """Captions of any words, or of ``most_words`` nouns and as many adjectives."""
    draw = random.Random(seed)
    nouns, adjectives = words(folder, "noun"), words(folder, "adj")
    if most_words is not None:
        nouns, adjectives = draw.sample(nouns, most_words), draw.sample(adjectives, most_words)
    for _ in range(count):
        yield draw.choice(SENTENCES).format(
            n=draw.choice(nouns), m=draw.choice(nouns), a=draw.choice(adjectives), y=draw.randint(1950, 2024)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=Path, required=True, help="WordNet's dict directory")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    with asked.output.open("w", encoding="utf-8") as file:
        file.writelines(f"{caption}\n" for caption in captions(asked.words, asked.count))


if __name__ == "__main__":
    main()
