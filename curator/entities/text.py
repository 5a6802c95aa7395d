"""Owns what a word is to the gazetteer: how captions and aliases become folded tokens, in any script.

Knows no alias, no entity and no automaton.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

INNER = "\x02"
"""Begins a token of Hangul that does not begin a word: an alias may end before a particle, not begin inside a word."""

_END = 0x40000  # no assigned character above it is a letter or a mark
# Scripts without spaces: each character is a token. Runs of katakana are words, and set apart by other scripts.
_SOLO = (
    "\u0e01-\u0edf\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u309f\u3105-\u312f\u31a0-\u31bf"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_HANGUL = "\uac00-\ud7a3"
_FORMAT = "\u00ad\u061c\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"  # invisible
_EMOJI = (
    "\u2194-\u21aa\u2300-\u23ff\u25aa-\u25fe\u2600-\u2775\u2794-\u27bf\u2934\u2935\u2b05-\u2b55\U0001f000-\U0001faff"
)
_MODIFIERS = "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
# Accents, Hebrew points, Arabic vowels and tatweel, variation selectors, what is invisible: no name lies in them.
_DROPPED = re.compile(f"[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\ufe00-\ufe0f{_FORMAT}]+")
_TONES = re.compile("(?<=.)[\U0001f3fb-\U0001f3ff]")
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2013\u2014\u2015\u2212", "-"),
    }
)
_APOSTROPHES = "'\u2019\u02bc"
_HYPHENS = "\\-\u2010\u2011"
_KEPT_AT_EDGES = frozenset("#&%@*")
_MOST_CACHED, _LONGEST_CACHED = 1 << 19, 64


class Folder:
    """Texts to keys. Words that were seen are remembered, so every thread should have its own."""

    def __init__(self) -> None:
        self._find = _pattern().findall
        self.ascii_words: Callable[[str], list[str]] = _pattern_ascii().findall
        """The words of a text in lower-case ASCII, each of which is its only token: five times as fast as the rest."""
        self._seen = _Seen()

    def __call__(self, text: str) -> tuple[list[str], list[str]]:
        """The words of ``text`` as they stand in it, in order, and what each is to a key: its *part*.

        A part is the folded tokens of the word with a space on either side of every token. A word of Hangul has as
        many tokens as syllables; others have one, or none where nothing of them can be seen. An alias is mentioned
        where its key begins at the beginning of a part and ends at the end of a token.
        """
        if text.isascii():
            words = self.ascii_words(text.lower())
            return words, [f" {word} " for word in words]
        words = self._find(text)
        seen = self._seen
        return words, [seen[word] for word in words]

    def key(self, alias: str) -> str:
        """What identifies an alias: its folded tokens without the punctuation around them, each between spaces.

        Two aliases with one key cannot be told apart in a caption. Empty where nothing is left.
        """
        tokens = tokens_of("".join(self(alias)[1]))
        while tokens and _is_edge(tokens[0]):
            del tokens[0]
        while tokens and _is_edge(tokens[-1]):
            del tokens[-1]
        return "".join([f" {token} " for token in tokens])


def starts(text: str, words: Sequence[str]) -> Iterator[int]:
    """Where each of the words of ``text`` begins in it, in characters, in order."""
    if text.isascii():
        text = text.lower()
    end = 0
    for word in words:
        start = text.find(word, end)  # no word begins like anything that is passed over between two words
        end = start + len(word)
        yield start


def tokens_of(key: str) -> list[str]:
    """The tokens of a key."""
    return key.split()


class _Seen(dict[str, str]):
    def __missing__(self, word: str) -> str:
        part = "".join([f" {token} " for token in _fold(word)])
        if len(word) <= _LONGEST_CACHED:
            if len(self) >= _MOST_CACHED:
                self.clear()
            self[word] = part
        return part


def _fold(word: str) -> list[str]:
    if word.isascii():
        return [word.lower()]
    text = unicodedata.normalize("NFKC", word).casefold().translate(_SAME)
    text = unicodedata.normalize("NFC", _DROPPED.sub("", unicodedata.normalize("NFKD", text)))
    text = "".join(_TONES.sub("", text).split())
    if "\uac00" <= text[:1] <= "\ud7a3":
        return [text[0], *(f"{INNER}{syllable}" for syllable in text[1:])]
    return [text] if text else []


def _is_edge(token: str) -> bool:
    return len(token) == 1 and unicodedata.category(token)[0] == "P" and token not in _KEPT_AT_EDGES


def _pattern_of(letters: str) -> str:
    """One word, possessive or sign a match; what is between them ties words together.

    White space, underscores, hyphens and apostrophes within words and the full stop of an abbreviation (after three
    letters at most) are passed over; other signs are tokens, so that no alias reaches over a comma.
    """
    word = f"[{letters}]+(?:(?:[{_FORMAT}]+|[{_APOSTROPHES}](?![sS](?![{letters}])))[{letters}]+)*"
    possessive = f"[{_APOSTROPHES}][sS](?![{letters}])"
    sign = f"(?<=[{letters}]{{4}})\\.|(?<![{letters}])[{_HYPHENS}]|[{_HYPHENS}](?![{letters}])"
    sign += f"|[^\\s_.{_APOSTROPHES}{_HYPHENS}\u200b{letters}{_FORMAT}]"
    emoji = f"[\U0001f1e6-\U0001f1ff]{{2}}|[{_EMOJI}]{_MODIFIERS}(?:\u200d[{_EMOJI}]{_MODIFIERS})*"
    return f"{word}|{possessive}|[{_HANGUL}]+|[{_SOLO}]|{emoji}|{sign}"


@functools.cache
def _pattern() -> re.Pattern[str]:
    return re.compile(_pattern_of(_letters()))


@functools.cache
def _pattern_ascii() -> re.Pattern[str]:
    """What ``_pattern`` is to text in lower-case ASCII."""
    word = "[a-z0-9]+(?:'(?!s(?![a-z0-9]))[a-z0-9]+)*"
    sign = r"(?<=[a-z0-9]{4})\.|(?<![a-z0-9])-|-(?![a-z0-9])|[^\sa-z0-9_.'\-]"
    return re.compile(f"{word}|'s(?![a-z0-9])|{sign}")


def _letters() -> str:
    """The inside of a character class: letters, digits and marks of the scripts that put spaces between words."""
    apart = re.compile(f"[{_SOLO}{_HANGUL}{_FORMAT}{_EMOJI}]")
    ranges: list[list[int]] = []
    for code in range(_END):
        letter = chr(code)
        if (letter.isalnum() or unicodedata.category(letter)[0] == "M") and not apart.match(letter):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
