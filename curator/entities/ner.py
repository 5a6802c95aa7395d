"""Owns the second source of mentions: a named-entity recogniser of the user's. Home of spaCy and GLiNER in this room.

Knows no gazetteer and no image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from curator.errors import ConfigError
from curator.options import package

_TEXTS_AT_ONCE = 32

Recogniser: TypeAlias = Callable[[Sequence[str]], list[list[tuple[int, int]]]]
"""Captions to the spans (start, end in characters) of the names in each, in order."""


LABELS: Final = ("person", "organization", "place", "landmark", "event", "product", "work of art", "animal", "plant")
"""The kinds of names that GLiNER, which takes any, is asked for unless told otherwise."""


def open_ner(name: str, labels: Sequence[str], device: object = "cpu") -> Recogniser:
    """The recogniser ``spacy:PIPELINE`` or ``gliner:MODEL``, where both are a name or the folder of one.

    ``labels`` are the kinds of names that GLiNER looks for, on ``device``; a spaCy pipeline has its own. ConfigError
    for other kinds, where the package is not installed, and where it has no such model.
    """
    kind, _, model = name.partition(":")
    if kind not in _KINDS or not model:
        raise ConfigError(f"ner {name!r} is not known; give spacy:PIPELINE or gliner:MODEL, a name or a folder")
    return _KINDS[kind](model, f"ner {name!r}", labels, device)


def _spacy(pipeline: str, place: str, labels: Sequence[str], device: object) -> Recogniser:
    spacy = package("spacy", "spacy", place)
    try:
        recognise = spacy.load(pipeline)
    except OSError as error:
        raise ConfigError(f"{place}: spaCy has no such pipeline ({error}); install it, or give its folder") from error

    def spans(captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(name.start_char, name.end_char) for name in doc.ents] for doc in recognise.pipe(captions)]

    return spans


def _gliner(name: str, place: str, labels: Sequence[str], device: object) -> Recogniser:
    gliner = package("gliner", "gliner", place)
    try:
        model = gliner.GLiNER.from_pretrained(name).to(device)
    except Exception as error:  # of the hub, of transformers, of a file that is another model's: they have no one class
        raise ConfigError(f"{place}: cannot be loaded ({error}); give the name or the folder of a GLiNER") from error

    def spans(captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        found: list[list[tuple[int, int]]] = [[] for _ in captions]
        rows = [row for row, caption in enumerate(captions) if caption.strip()]
        if rows:
            names = model.inference([captions[row] for row in rows], list(labels), batch_size=_TEXTS_AT_ONCE)
            for row, own in zip(rows, names, strict=True):
                found[row] = sorted((int(each["start"]), int(each["end"])) for each in own)
        return found

    return spans


_KINDS: Final = {"spacy": _spacy, "gliner": _gliner}
