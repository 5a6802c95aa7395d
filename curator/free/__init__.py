"""Vocabulary-free labels: the methods by the names that a config gives them."""

from __future__ import annotations

from curator.annotators import Annotator
from curator.free.cased import Cased
from curator.free.novic.annotator import Novic
from curator.free.regions import Regions
from curator.free.verify import Verify
from curator.free.words import Words

METHODS: dict[str, type[Annotator]] = {
    "cased": Cased,
    "novic": Novic,
    "regions": Regions,
    "words": Words,
    "verify": Verify,
}
