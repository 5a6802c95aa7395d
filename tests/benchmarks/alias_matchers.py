"""Libraries that find many phrases in a text, side by side: seconds until ready, memory, captions per second.

    pip install ahocorasick_rs pyahocorasick daachorse flashtext2
    python tests/benchmarks/alias_matchers.py --wordnet DICT [--aliases 500000] [--only marisa_trie]

Each library has a process of its own and gets the same folded keys (of WordNet's nouns and phrases of its words) and
the same captions (WordNet's glosses). ``ready``: what every worker must do before its first caption, from the saved
form where the library has one. ``alone``: the search in captions that are folded already; ``whole``: with folding and
the places in the caption, as this package's matcher does it. Times are of the process, so that its neighbours on the
machine count little.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curator.entities.building import SourceEntity, build
from curator.entities.gazetteer import Gazetteer
from curator.entities.matching import Matcher
from curator.entities.rules import Rules
from curator.entities.sources import read_wordnet
from curator.entities.text import Folder

LIBRARIES = ("marisa_trie", "daachorse", "flashtext2", "pyahocorasick", "ahocorasick_rs")
Search = Callable[[str], Any]


def inputs(folder: Path, count: int) -> tuple[list[str], list[str]]:
    rng = random.Random(0)
    aliases: dict[str, None] = {}
    glosses = []
    for entity in read_wordnet(folder):
        aliases.update(dict.fromkeys(alias for alias, _ in entity.aliases))
        glosses.append(entity.description)
    words = [alias for alias in aliases if alias.isalpha()]
    while len(aliases) < count:
        aliases[" ".join(rng.choices(words, k=rng.randint(2, 3)))] = None
    rng.shuffle(glosses)
    return list(aliases)[:count], glosses[:20_000]


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def prepare(library: str, keys: list[str]) -> tuple[Any, Callable[[Any], Search]]:
    """What can be saved, and how a worker makes a search of it."""
    if library == "marisa_trie":
        import marisa_trie

        def of_trie(saved: bytes) -> Search:
            search = marisa_trie.Trie().frombytes(saved).iter_prefixes_with_ids

            def find(text: str) -> list[Any]:
                found, place, free, longest = [], 0, 0, 120
                for part in text.split("  "):
                    if place >= free:
                        best = None
                        for best in search(text[place - 1 if place else 0 : place + longest]):  # noqa: B007
                            pass
                        if best is not None:
                            found.append(best)
                            free = place + len(best[0]) - 1
                    place += len(part) + 2
                return found

            return find

        return marisa_trie.Trie(keys).tobytes(), of_trie
    if library == "daachorse":
        import daachorse

        kind = daachorse.DoubleArrayAhoCorasick
        made = kind([key.encode() for key in keys], daachorse.MATCH_KIND_LEFTMOST_LONGEST)

        def of_bytes(saved: bytes) -> Search:
            find = kind.deserialize(saved).find
            return lambda text: find(text.encode())

        return made.serialize(), of_bytes
    if library == "flashtext2":
        import flashtext2

        def of_words(saved: list[str]) -> Search:
            processor = flashtext2.KeywordProcessor(case_sensitive=True)
            processor.add_keywords_from_iter([" ".join(key.split()) for key in saved])
            return lambda text: processor.extract_keywords_with_span(" ".join(text.split()))

        return keys, of_words
    if library == "pyahocorasick":
        import ahocorasick

        def of_keys(saved: list[str]) -> Search:
            automaton = ahocorasick.Automaton()
            for number, key in enumerate(saved):
                automaton.add_word(key, number)
            automaton.make_automaton()
            return lambda text: list(automaton.iter_long(text))

        return keys, of_keys

    import ahocorasick_rs

    def of_patterns(saved: list[str]) -> Search:
        kind = ahocorasick_rs.MatchKind.LeftmostLongest
        return ahocorasick_rs.AhoCorasick(saved, matchkind=kind, store_patterns=False).find_matches_as_indexes

    return keys, of_patterns


def measure(library: str, aliases: list[str], captions: list[str]) -> None:
    fold = Folder()
    keys = list(dict.fromkeys(fold.key(alias) for alias in aliases))
    texts = ["".join(fold(caption)[1]) for caption in captions]
    saved, make = prepare(library, keys)
    size = f"{len(saved) / 2**20:.0f} MB saved" if isinstance(saved, bytes) else "cannot be saved"
    before, began = resident_mb(), time.process_time()
    search = make(saved)
    ready, grown = time.process_time() - began, resident_mb() - before
    rates = []
    for _ in range(3):
        began = time.process_time()
        mentions = sum(len(search(text)) for text in texts)
        rates.append(len(texts) / (time.process_time() - began))
    print(
        f"{library:15} ready after {ready:6.3f} s, {grown:5.0f} MB a worker ({size}); "
        f"alone {max(rates):7.0f} captions/s, {mentions / len(texts):.2f} mentions each",
        flush=True,
    )


def whole(aliases: list[str], captions: list[str], work: Path) -> None:
    entities = (SourceEntity(str(number), alias) for number, alias in enumerate(aliases))
    build(entities, work, Rules(frozenset()), {})
    match = Matcher(Gazetteer.open(work))
    rates = []
    for _ in range(3):
        began = time.process_time()
        for caption in captions:
            match(caption)
        rates.append(len(captions) / (time.process_time() - began))
    print(f"curator's matcher, whole: {max(rates):.0f} captions/s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--aliases", type=int, default=500_000)
    parser.add_argument("--only", choices=(*LIBRARIES, "whole"))
    args = parser.parse_args()
    if args.only is None:
        for library in (*LIBRARIES, "whole"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", library], check=True)
        return
    aliases, captions = inputs(args.wordnet, args.aliases)
    if args.only == "whole":
        with tempfile.TemporaryDirectory() as work:
            whole(aliases, captions, Path(work) / "gazetteer.arrow")
    else:
        measure(args.only, aliases, captions)


if __name__ == "__main__":
    main()
