"""Owns the way from a caption to WordNet's noun classes: cleaning, base forms, the class of a base form.

Knows no file: the tables of words are the caller's, and so is the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

_TAG = re.compile(r"<.*?>")
_SPACES = re.compile(r" +")
# WordNet's detachment rules for nouns (morphy(7WN)), in its order.
_ENDINGS = (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"),
)  # fmt: skip


def unwrapped(caption: str) -> str:
    """A web caption as text: percent escapes undone, ``+`` a space, no markup, no line ends, single spaces.

    The steps of CatLIP's text preprocessing up to the repair of encodings.
    """
    text = _TAG.sub("", unquote(caption).replace("+", " "))
    return _SPACES.sub(" ", text.replace("\n", "").replace("\r", "")).strip()


@dataclass(frozen=True)
class NounClasses:
    """``nouns`` maps every noun to its class, or to None where its first sense is headed by another noun.

    ``irregular`` maps irregular plurals to their base forms. All are lower case.
    """

    nouns: Mapping[str, str | None]
    irregular: Mapping[str, Sequence[str]]

    def base(self, word: str) -> str:
        """The shortest noun that ``word`` is a form of, by WordNet's morphy; ``word`` itself where there is none."""
        forms = self.irregular.get(word)
        if forms is None:
            forms = [word[: -len(old)] + new for old, new in _ENDINGS if word.endswith(old)]
        return min((form for form in (word, *forms) if form in self.nouns), key=len, default=word)

    def class_of(self, word: str) -> str | None:
        """The class of a word's base form: that of its first noun sense, if that sense is named by the same noun.

        Mehta et al. 2024 (CatLIP): a synonym that another noun heads has none (auto, which is car's).
        """
        return self.nouns.get(self.base(word))

    def classes(self, words: Sequence[str]) -> dict[str, str]:
        """The classes of ``words`` in order of first mention, each once, with the base form that led to it."""
        found: dict[str, str] = {}
        for word in words:
            known = self.class_of(word)
            if known is not None and known not in found:
                found[known] = self.base(word)
        return found
