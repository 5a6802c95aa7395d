"""Own the texts of the embedded caption bank: what the embedded encoder was taught to read, as captions a line.

It refuses to know vectors: `curator bank build` makes the bank of these texts as of any others.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from curator.training import sources
from curator.training.clipart import read_clipart
from curator.training.emoji import read_table
from curator.wordnet.files import WordNet

log = logging.getLogger(__name__)

NOUNS = 8_000
"""WordNet nouns that get a caption with their definition, the most used first."""
_KEYWORDS = 4


def main(arguments: list[str] | None = None) -> None:
    """Fetch the packages that hold the words, and write the captions."""
    parser = argparse.ArgumentParser(description="Write the captions of the embedded bank.")
    parser.add_argument("--work", type=Path, required=True, help="directory of the downloads")
    parser.add_argument("--output", type=Path, required=True, help="text file, a caption a line")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    used = (sources.EMOJILIB, sources.EMOJIBASE, sources.GOOGLE, sources.CLIPART_PNG, sources.CLIPART_SVG)
    sources.fetch(options.work, (*used, sources.WORDNET))
    lines = list(dict.fromkeys(captions(options.work)))
    options.output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    log.info("captions=%d", len(lines))


def captions(work: Path) -> Iterator[str]:
    """Captions of emoji, of openclipart's drawings that were trained on, and of frequent nouns; the same every time."""
    wordnet = WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet")
    for emoji in read_table(work):
        yield from of_thing(emoji.names, emoji.keywords, emoji.subgroup)
    for item in read_clipart(work, wordnet.nouns):
        if item.title and not item.held_out:
            kinds = wordnet.hypernyms(item.title, depth=1) or item.categories[-1:]
            yield from of_thing([item.title], item.keywords, next(iter(kinds), ""))
    yield from of_nouns(wordnet, NOUNS)


def of_thing(names: Sequence[str], keywords: Sequence[str], kind: str) -> Iterator[str]:
    """Each name alone, and the first one with each of its first keywords and with its kind.

    Pairs and not lists: CaSED keeps words that several captions share, and of these the name should be one (top-1 on
    Noto's emoji: 6.7 against 5.5 %). None stands in a prompt: "emoji" and "drawing" would be words of every
    neighbourhood.
    """
    yield from names
    for other in dict.fromkeys([*keywords[:_KEYWORDS], *([kind] if kind else [])]):
        yield f"{names[0]}, {other}"


def of_nouns(wordnet: WordNet, count: int) -> Iterator[str]:
    """Nouns with the definition of their most frequent sense, and with what they are a kind of."""
    for noun in wordnet.frequent(count):
        senses = wordnet.senses(noun)
        yield f"{noun}: {senses[0].gloss}"
        above = wordnet.hypernyms(noun, depth=1)
        if above:
            yield f"{noun}, {above[0]}"  # without "a kind of", which became the label of a twentieth of all pictures
