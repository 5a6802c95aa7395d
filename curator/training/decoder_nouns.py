"""Own the choice of the nouns that the embedded encoder's decoder knows: names of emoji, and frequent caption words.

It refuses to know the decoder; the pictures of the test are no part of the choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from curator.labels.vocabulary import Vocabulary
from curator.training import corpus, sources
from curator.training.emoji import Emoji, read_table
from curator.wordnet.files import WordNet


def embedded_nouns(work: Path, count: int = 3500) -> Vocabulary:
    """The nouns of the embedded decoder; packages and corpus under ``work`` are fetched and drawn if missing."""
    sources.fetch(work)
    corpus.build(work)
    pictures = corpus.load(work)
    wordnet = WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet")
    uses: Counter[str] = Counter()
    for code in pictures.train.entities:
        entity = pictures.entities[code]
        uses.update({*entity.names, *entity.keywords, *entity.kinds})
    return choose(read_table(work), uses, wordnet.nouns, count)


def choose(table: Sequence[Emoji], uses: Counter[str], nouns: Collection[str], count: int) -> Vocabulary:
    """Every emoji's name, with what else only it is called as aliases, and of ``uses`` the most frequent ``nouns``.

    ``count`` nouns in all, words of one or two letters and aliases left out; equally frequent words in their order.
    """
    called = Counter(word for emoji in table for word in {emoji.label, *emoji.names})
    names = dict.fromkeys(emoji.name for emoji in table)
    labels: list[dict[str, Any]] = []
    taken = set(names)
    for emoji in table:
        if emoji.name in names:
            del names[emoji.name]
            others = dict.fromkeys((emoji.label, *emoji.names))
            aliases = [word for word in others if called[word] == 1 and word not in taken]
            taken.update(aliases)
            labels.append({"name": emoji.name, "aliases": aliases})
    words = [word for word in uses if word in nouns and word not in taken and len(word) > 2]
    words.sort(key=lambda word: (-uses[word], word))
    return Vocabulary.load([*labels, *({"name": word} for word in words[: max(0, count - len(labels))])])
