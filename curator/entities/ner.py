"""Owns the second source of mentions: a named-entity recogniser of the user's. Home of spaCy in this room.

Knows no gazetteer and no image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from curator.errors import ConfigError
from curator.options import package

Recogniser: TypeAlias = Callable[[Sequence[str]], list[list[tuple[int, int]]]]
"""Captions to the spans (start, end in characters) of the names in each, in order."""


def open_ner(name: str) -> Recogniser:
    """The recogniser ``spacy:PIPELINE``: the name of an installed spaCy pipeline, or the folder of one.

    ConfigError for other kinds, where spaCy is not installed, and where it has no such pipeline.
    """
    kind, _, pipeline = name.partition(":")
    if kind != "spacy" or not pipeline:
        raise ConfigError(f"ner {name!r} is not known; give spacy:NAME or spacy:FOLDER of a spaCy pipeline")
    spacy = package("spacy", "spacy", f"ner {name!r}")
    try:
        recognise = spacy.load(pipeline)
    except OSError as error:
        raise ConfigError(
            f"ner {name!r}: spaCy has no such pipeline ({error}); install it, or give its folder"
        ) from error

    def spans(captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(name.start_char, name.end_char) for name in doc.ents] for doc in recognise.pipe(captions)]

    return spans
