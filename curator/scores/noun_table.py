"""Owns the table of nouns that ships with Curator: which synset is a noun's first sense. Knows no caption.

A line is a noun of one word and, where it heads its first sense, the offset of that synset in WordNet 3.0; after an
empty line come irregular plurals with their base forms.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from curator.errors import ConfigError
from curator.kernels.nouns import NounClasses

_PATH = Path(__file__).with_name("wordnet") / "nouns.tsv.xz"


@lru_cache(maxsize=1)
def shipped_nouns() -> NounClasses:
    """The nouns of WordNet 3.0, classes as CatLIP writes them: ``n`` and the offset without leading zeros."""
    first, second = lzma.decompress(_PATH.read_bytes()).decode().split("\n\n")
    nouns = {word: f"n{offset}" if offset else None for word, _, offset in map(_split, first.split("\n"))}
    return NounClasses(nouns, {form: bases.split() for form, _, bases in map(_split, second.split("\n"))})


def _split(line: str) -> tuple[str, str, str]:
    return line.partition("\t")


def make_table(folder: Path, out: Path = _PATH) -> None:
    """Write the table out of WordNet's dict directory (Debian's wordnet-base: /usr/share/wordnet).

    File formats: wndb(5WN), morphy(7WN). The same files give the same bytes. ConfigError where they are missing.
    """
    try:
        heads = {int(line[0]): line[4].lower() for line in _records(folder / "data.noun")}
        firsts = {line[0].lower(): int(line[-int(line[2])]) for line in _records(folder / "index.noun")}
        plurals = [line for line in _records(folder / "noun.exc") if all("_" not in word for word in line)]
    except OSError as error:
        raise ConfigError(f"{folder}: {error}; give WordNet's dict directory (Debian: wordnet-base)") from error
    words = [
        f"{word}\t{offset if heads[offset] == word else ''}"
        for word, offset in sorted(firsts.items())
        if "_" not in word
    ]
    irregular = [f"{form}\t{' '.join(bases)}" for form, *bases in sorted(plurals)]
    text = "\n".join(words) + "\n\n" + "\n".join(irregular)
    out.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def _records(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith(" "):
            yield line.partition("|")[0].split()
