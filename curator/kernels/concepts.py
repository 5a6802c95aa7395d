"""Owns which concepts a caption names, by the base forms of its words. Knows no file, no image and no vocabulary."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

# A word, or a pictograph; scripts without spaces give a token for each character.
_SOLO = "\u0e01-\u0edf\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_SOLO}]|(?:(?![{_SOLO}])[^\W_])+|[\u2600-\u27bf\U0001f000-\U0001faff]")
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s\b", re.IGNORECASE)


def base_words(text: str, base: Callable[[str], str]) -> list[str]:
    """The words of a text in order, folded to lower case and brought to their base form by ``base``."""
    plain = _POSSESSIVE.sub("", unicodedata.normalize("NFKC", text))
    return [base(word) for word in _TOKEN.findall(plain.casefold())]


class ConceptTexts:
    """Finds concepts in captions. Udandarao et al. 2024 ("No Zero-Shot Without Exponential Data"), section 2.

    By the rule ``words`` a caption names a concept if it has all words of one of its texts, in any order, as the
    paper's intersection of single-word indexes does; by ``phrase`` they must follow one another.
    """

    def __init__(
        self,
        texts: Sequence[Iterable[str]],
        base: Callable[[str], str],
        rule: Literal["words", "phrase"] = "words",
    ) -> None:
        """``texts`` are each concept's name and aliases. ValueError for a text without a word, which nothing names."""
        self._base = base
        self._phrase = rule == "phrase"
        self._index: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        for concept, names in enumerate(texts):
            for name in names:
                words = tuple(base_words(name, base))
                if not words:
                    raise ValueError(f"{name!r} has no word by which a caption could name it")
                if not self._phrase:
                    words = tuple(sorted(set(words), key=lambda word: (-len(word), word)))
                self._index.setdefault(words[0], []).append((concept, words))

    def __call__(self, caption: str) -> list[int]:
        """The concepts that the caption names, by their numbers, each once and in order."""
        words = base_words(caption, self._base)
        present = set(words)
        found: set[int] = set()
        if not self._phrase:
            for word in present:
                found.update(concept for concept, need in self._index.get(word, ()) if present.issuperset(need))
            return sorted(found)
        for start, word in enumerate(words):
            for concept, need in self._index.get(word, ()):
                if tuple(words[start : start + len(need)]) == need:
                    found.add(concept)
        return sorted(found)
