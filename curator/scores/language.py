"""Owns the detection of a caption's language, by py3langid and its own model. Knows no column."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from curator.options import package

SEEN_CHARS = 1000
"""So much of a caption is looked at: enough for certainty, and a bound on what a long one costs."""


@lru_cache(maxsize=1)
def _shipped_model(module: Any) -> Any:
    """The package's own model, which takes half a second to unpack."""
    return module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)


class LanguageDetector:
    """Codes of ISO 639 (mostly 639-1) by a naive Bayes classifier (Lui and Baldwin 2012)."""

    def __init__(self, languages: Sequence[str] | None = None, min_score: float = 0.0, place: str = "language") -> None:
        """Only ``languages``, if given. ValueError where one is not known; ConfigError without the package."""
        module: Any = package("py3langid.langid", "scores", place)
        self._identifier = copy.copy(_shipped_model(module))
        if languages is not None:
            self._identifier.set_languages(list(languages))
        self._min_score = min_score

    def __call__(self, text: str) -> str | None:
        """The language, or None where there are no letters or the probability is below ``min_score``."""
        seen = text[:SEEN_CHARS]
        if not any(character.isalpha() for character in seen):
            return None
        language, score = self._identifier.classify(seen)
        return str(language) if score >= self._min_score else None
