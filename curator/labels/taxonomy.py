"""Owns vocabularies made from WordNet: a branch of it, or given words with what they are kinds of. Knows no encoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from curator.errors import ConfigError, nearest
from curator.labels.vocabulary import Vocabulary
from curator.wordnet.files import WordNet


def branch(wordnet: WordNet, root: str, *, sense: int = 1, depth: int = 3, most: int = 1000) -> dict[str, Any]:
    """The synsets at most ``depth`` levels under a sense of ``root``, breadth first, at most ``most`` of them.

    What a vocabulary file holds: ids are WordNet's ("n02084071"), aliases the other words of the synset, parents the
    first hypernym. ``sense`` counts from 1, the most frequent. Raises ConfigError for words and senses that are not
    there.
    """
    offsets = _offsets(wordnet, root)
    if not 1 <= sense <= len(offsets):
        glosses = "; ".join(f"{n} {wordnet.synset(each).gloss}" for n, each in enumerate(offsets, start=1))
        raise ConfigError(f"{root!r} has no sense {sense}: {glosses}")
    below = wordnet.below()
    labels: list[dict[str, Any]] = []
    queue: deque[tuple[int, int | None, int]] = deque([(offsets[sense - 1], None, 0)])
    while queue and len(labels) < most:
        offset, parent, level = queue.popleft()
        labels.append(_label(wordnet, offset, parent))
        if level < depth:
            queue.extend((each, offset, level + 1) for each in below.get(offset, ()))
    return _checked(labels)


def with_ancestors(wordnet: WordNet, words: Sequence[str], *, depth: int = 3) -> dict[str, Any]:
    """A vocabulary of ``words`` in their most frequent sense, and above them at most ``depth`` levels of hypernyms."""
    labels: dict[int, dict[str, Any]] = {}
    for word in words:
        offset = _offsets(wordnet, word)[0]
        chain = [offset]
        while len(chain) <= depth and wordnet.synset(chain[-1]).hypernyms:
            chain.append(wordnet.synset(chain[-1]).hypernyms[0])
        for position, each in enumerate(chain):
            parent = chain[position + 1] if position + 1 < len(chain) else None
            label = labels.setdefault(each, _label(wordnet, each, parent))
            if parent is not None:  # a chain that was cut here may go on from another word
                label["parent"] = _id(parent)
        labels[offset]["name"] = word
        labels[offset]["aliases"] = [name for name in wordnet.synset(offset).words if name != word.lower()]
    return _checked(list(labels.values()))


def _offsets(wordnet: WordNet, word: str) -> list[int]:
    offsets = wordnet.offsets(word.lower())
    if not offsets:
        hint = nearest(word.lower(), wordnet.nouns, "give one of its nouns, in the singular")
        raise ConfigError(f"WordNet has no noun {word!r}; {hint}")
    return offsets


def _label(wordnet: WordNet, offset: int, parent: int | None) -> dict[str, Any]:
    words = wordnet.synset(offset).words
    label: dict[str, Any] = {"id": _id(offset), "name": words[0], "aliases": list(words[1:])}
    return label if parent is None else {**label, "parent": _id(parent)}


def _id(offset: int) -> str:
    return f"n{offset:08d}"


def _checked(labels: list[dict[str, Any]]) -> dict[str, Any]:
    Vocabulary.load(labels)
    return {"labels": labels}
