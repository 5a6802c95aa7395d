"""Owns the finding of aliases in captions: the longest alias at each word, from left to right, without overlap.

Knows no entity and no image.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import marisa_trie

from curator.entities.gazetteer import Gazetteer
from curator.entities.text import INNER, Folder, starts, tokens_of

_MOST_CACHED, _LONGEST_CACHED = 1 << 16, 64
_MOST_FOLLOWERS = 16
_MEETINGS = 4


class Mention(NamedTuple):
    """An alias (its id in the gazetteer) and where it stands in a caption, in characters."""

    start: int
    end: int
    alias: int


class Matcher:
    """Mentions of a gazetteer's aliases. Not for several threads at once.

    A static trie with a search for prefixes at every word: it maps into memory as it is, where an automaton would have
    to be built by each worker, and is no slower (the figures are in this room's README).
    """

    def __init__(self, gazetteer: Gazetteer) -> None:
        self._search = gazetteer.trie.iter_prefixes_with_ids
        self._longest = gazetteer.longest
        self._fold = Folder()
        self._outlook = _Outlook(gazetteer.trie)

    def __call__(self, caption: str) -> list[Mention]:
        """The mentions in ``caption``, in order. Takes time in proportion to its length."""
        if caption.isascii():
            return self._in_ascii(caption.lower())
        words, parts = self._fold(caption)
        key = "".join(parts)
        search, longest, outlook = self._search, self._longest, self._outlook
        place = free = 0
        found: list[tuple[int, int, int]] = []  # number of the word, characters of the alias' key, alias
        for number, part in enumerate(parts):
            if place >= free and part and outlook[tokens_of(part)[0]] is not _NOTHING:
                best = None
                for best in search(key[place : place + longest]):  # noqa: B007 - the last one is the longest
                    pass
                if best is not None:
                    length = len(best[0])
                    free = place + length
                    found.append((number, length, best[1]))
            place += len(part)
        return _located(caption, words, parts, found)

    def _in_ascii(self, caption: str) -> list[Mention]:
        """The same where every word is one token, which is itself: most captions, and twice as fast."""
        words = self._fold.ascii_words(caption)
        key = f" {'  '.join(words)} "
        search, longest, outlook, find = self._search, self._longest, self._outlook, caption.find
        place = free = end = 0
        mentions: list[Mention] = []
        new: Callable[..., Mention] = tuple.__new__  # a third of the time of Mention's own
        first = alias = -1  # of the mention whose last word is still to come
        for word, following in zip(words, [*words[1:], ""], strict=False):
            size = len(word)
            start = find(word, end)
            end = start + size
            if place >= free and (found := outlook[word]) is not _NOTHING:
                alone, followers = found
                if followers is None or following in followers:
                    best = None
                    for best in search(key[place : place + longest]):  # noqa: B007 - the last one is the longest
                        pass
                    if best is not None:
                        free = place + len(best[0])
                        first, alias = start, best[1]
                elif alone >= 0:
                    free = place + size + 2
                    first, alias = start, alone
            place += size + 2
            if place == free:
                mentions.append(new(Mention, (first, end, alias)))
        return mentions


def _located(caption: str, words: list[str], parts: list[str], found: list[tuple[int, int, int]]) -> list[Mention]:
    first_characters = list(starts(caption, words))
    mentions = []
    for number, length, alias in found:
        last = number
        left = length - len(parts[number])
        while left > 0:
            last += 1
            left -= len(parts[last])
        end = first_characters[last] + len(words[last])
        if left < 0 and len(words[last]) == parts[last].count("  ") + 1:  # a particle follows in the word of Hangul
            end -= parts[last][left:].count(INNER)
        mentions.append(Mention(first_characters[number], end, alias))
    return mentions


_NOTHING: tuple[int, frozenset[str]] = (-1, frozenset())
_SEARCH = (-1, None)


class _Outlook(dict[str, tuple[int, "frozenset[str] | None"]]):
    """What may come of a token: the alias that it is by itself (or -1), and the tokens that go on with a longer one.

    None for the tokens where only a search can tell: they are many, or the token was met a few times only. Half of all
    words are met once, and to look into one costs several searches. Most words of a caption are met again and again,
    and few are followed by what would make a longer alias, so that most need no search.
    """

    def __init__(self, trie: marisa_trie.Trie) -> None:
        super().__init__()
        self._trie = trie
        self._met: dict[str, int] = {}

    def __missing__(self, token: str) -> tuple[int, frozenset[str] | None]:
        times = self._met.get(token, 0)
        if times < _MEETINGS:
            if len(token) <= _LONGEST_CACHED:
                if len(self._met) >= _MOST_CACHED:
                    self._met.clear()
                self._met[token] = times + 1
            return _SEARCH
        self._met.pop(token, None)
        if len(self) >= _MOST_CACHED:
            self.clear()
        found = self[token] = self._looked_up(f" {token} ")
        return found

    def _looked_up(self, key: str) -> tuple[int, frozenset[str] | None]:
        begun = dict(islice(self._trie.iteritems(key), _MOST_FOLLOWERS + 2))
        if len(begun) > _MOST_FOLLOWERS + 1:
            return _SEARCH
        alone = int(begun.pop(key, -1))
        if alone < 0 and not begun:
            return _NOTHING
        return alone, frozenset([each[len(key) + 1 : each.index(" ", len(key) + 1)] for each in begun])
