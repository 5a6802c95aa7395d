"""Owns the making of the lexicon that ships with Curator out of WordNet's own files. Knows no picture and no caption.

What is written is described in ``lexicon.py``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from curator.errors import ConfigError
from curator.wordnet.files import read_data, read_exceptions, read_index, read_uses
from curator.wordnet.lexicon import HEADED, NAME, Part

_TYPES = ("1", "2", "35", "4")  # the ss_types of nouns, verbs, adjectives with their satellites, adverbs
_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_lexicon(folder: Path, out: Path) -> Path:
    """Write the lexicon of WordNet's ``folder`` (Debian's wordnet-base: /usr/share/wordnet) into the directory ``out``.

    The same files give the same bytes. Raises ConfigError where WordNet's files are not in ``folder``.
    """
    try:
        heads = {offset: synset.words[0] for offset, synset in read_data(folder / "data.noun")}
        nouns = read_index(folder / "index.noun")
        adjectives, verbs = read_index(folder / "index.adj"), read_index(folder / "index.verb")
        plurals, forms = read_exceptions(folder / "noun.exc"), read_exceptions(folder / "verb.exc")
        uses = [read_uses(folder / "cntlist.rev", types) for types in _TYPES]
    except OSError as error:
        raise ConfigError(f"{folder}: {error}; give WordNet's dict directory (Debian: wordnet-base)") from error
    words, phrases = (sorted(noun for noun in nouns if (" " in noun) is phrase) for phrase in (False, True))
    parts: dict[Part, Iterable[str]] = {
        "nouns": words,
        "noun_firsts": (f"{HEADED if heads[nouns[word][0]] == word else ''}{nouns[word][0]}" for word in words),
        "noun_others": (_numbers(nouns[word][1:]) for word in words),
        "phrases": phrases,
        "phrase_senses": (_numbers(nouns[phrase]) for phrase in phrases),
        "adjectives": sorted(adjectives),
        "verbs": sorted(verb for verb in verbs if verb.isalpha()),
        "verb_forms": sorted(form for form in forms if form.isalpha()),
        "plurals": (
            " ".join([form, *bases]) for form, bases in sorted(plurals.items()) if " " not in "".join([form, *bases])
        ),
        "uses": (
            "\t".join([lemma, *(str(counts[lemma]) for counts in uses)])
            for lemma in sorted({*nouns, *adjectives})
            if any(counts[lemma] for counts in uses)
        ),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, lines in parts.items():
            entry = zipfile.ZipInfo(f"{name}.txt", _EPOCH)
            entry.compress_type = zipfile.ZIP_LZMA
            archive.writestr(entry, "\n".join(lines))
    return path


def _numbers(offsets: Iterable[int]) -> str:
    return " ".join(map(str, offsets))
