"""Owns the making of the lexicon that ships with Curator out of WordNet's own files. Knows no picture and no caption.

File formats: WordNet 3.0 manual, wndb(5WN) and cntlist(5WN). What is written is described in ``lexicon.py``.
"""

from __future__ import annotations

import lzma
from collections import Counter
from pathlib import Path

from curator.errors import ConfigError
from curator.free.lexicon import NAME

_POS = {"noun": "1", "verb": "2", "adj": "35"}  # the ss_type of sense keys; 5 are adjective satellites


def make_lexicon(folder: Path, out: Path) -> Path:
    """Write the lexicon of WordNet's ``folder`` (Debian's wordnet-base: /usr/share/wordnet) into the directory ``out``.

    The same files give the same bytes. Raises ConfigError where WordNet's files are not in ``folder``.
    """
    try:
        uses = {pos: _uses(folder / "cntlist.rev", types) for pos, types in {**_POS, "other": "24"}.items()}
        entries = {pos: _index(folder / f"index.{pos}") for pos in _POS}
        irregular = sorted({form for form, _, _ in map(_exception, _lines(folder / "verb.exc")) if form.isalpha()})
    except OSError as error:
        raise ConfigError(f"{folder}: {error}; give WordNet's dict directory (Debian: wordnet-base)") from error
    numbers = {offset: n for n, offset in enumerate(sorted({o for found in entries["noun"].values() for o in found}))}
    nouns = (
        [word, str(uses["noun"][word]), str(uses["other"][word]), " ".join(str(numbers[o]) for o in offsets)]
        for word, offsets in sorted(entries["noun"].items())
    )
    adjectives = ([word, str(uses["adj"][word]), str(uses["other"][word])] for word in sorted(entries["adj"]))
    verbs = [[word] for word in sorted(entries["verb"]) if word.isalpha()]
    sections = [nouns, adjectives, verbs, [[form] for form in irregular]]
    text = "\n\n".join("\n".join("\t".join(fields) for fields in section) for section in sections)
    out.mkdir(parents=True, exist_ok=True)
    path = out / NAME
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return path


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="latin-1").splitlines() if not line.startswith(" ")]


def _index(path: Path) -> dict[str, list[int]]:
    """Lemma to the offsets of its synsets, the most frequent sense first."""
    found = {}
    for line in _lines(path):
        fields = line.split()
        found[_plain(fields[0])] = [int(offset) for offset in fields[-int(fields[2]) :]]
    return found


def _uses(path: Path, types: str) -> Counter[str]:
    """How often WordNet's tagged texts use each lemma in senses of these types."""
    counts: Counter[str] = Counter()
    for line in _lines(path):
        key, _, uses = line.split()
        lemma, _, sense = key.partition("%")
        if sense[0] in types:
            counts[_plain(lemma)] += int(uses)
    return counts


def _exception(line: str) -> tuple[str, str, str]:
    return line.partition(" ")


def _plain(lemma: str) -> str:
    return lemma.replace("_", " ").lower()
