"""Own the cached corpus: thumbnails of all training and test pictures, and the words of the entities that they show.

It refuses to know how the words become captions or the thumbnails become batches.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.training import sources
from curator.training.clipart import clipart_pictures, read_clipart
from curator.training.emoji import noto_pictures, read_table, training_pictures
from curator.training.pictures import Thumbnail, thumbnails
from curator.wordnet.files import WordNet

log = logging.getLogger(__name__)

SIDE = 80
"""Pixels of a cached thumbnail: more than the 64 of the encoder, so that crops and turns stay sharp."""


@dataclass(frozen=True)
class Entity:
    """What a picture shows: `names` mean exactly it, `keywords` go with it, `kinds` are classes that it belongs to."""

    code: str
    names: tuple[str, ...]
    keywords: tuple[str, ...]
    kinds: tuple[str, ...]
    mirror: bool


@dataclass(frozen=True)
class Part:
    """Pictures of one purpose: thumbnails uint8 [N, SIDE, SIDE, 4] (RGBA), and per picture its entity and design."""

    thumbnails: Thumbnail
    entities: list[str]
    designs: list[str]


@dataclass(frozen=True)
class Corpus:
    """Entities by code, and the pictures to train on, held out of openclipart, and of the Noto test."""

    entities: dict[str, Entity]
    train: Part
    held_out: Part
    noto: Part


def _emoji_entities(work: Path, wordnet: WordNet) -> list[Entity]:
    found = []
    for emoji in read_table(work):
        head = emoji.label if wordnet.senses(emoji.label) else emoji.label.split()[-1]
        country = emoji.country is not None
        above = [] if country or emoji.group in ("symbols", "flags") else wordnet.hypernyms(head)
        kinds = dict.fromkeys([emoji.group, emoji.subgroup, *above])
        sided = {"left", "right", "leftwards", "rightwards"} & set(" ".join(emoji.names).split())
        mirror = emoji.group not in ("symbols", "flags") and emoji.subgroup != "time" and not sided
        found.append(Entity(emoji.code, emoji.names, emoji.keywords, tuple(kinds), mirror))
    return found


def _clipart_entities(work: Path, wordnet: WordNet) -> list[Entity]:
    found = []
    for item in read_clipart(work, wordnet.nouns):
        head = (
            item.title if wordnet.senses(item.title) else next((w for w in item.title.split() if wordnet.senses(w)), "")
        )
        kinds = dict.fromkeys([*item.categories, *wordnet.hypernyms(head, depth=3)])
        names = (item.title,) if item.title else item.categories[-1:]
        found.append(Entity(item.code, names, item.keywords, tuple(kinds), mirror="symbols" not in item.categories))
    return found


def build(work: Path, processes: int = 2) -> None:
    """Draw every picture once and write the corpus under `work/corpus`; does nothing when it is already there."""
    folder = work / "corpus"
    if (folder / "corpus.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    wordnet = WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet")
    table = read_table(work)
    clipart = [item for item in read_clipart(work, wordnet.nouns) if item.title or item.categories]
    parts = {
        "train": [*training_pictures(work, table), *clipart_pictures([item for item in clipart if not item.held_out])],
        "held_out": clipart_pictures([item for item in clipart if item.held_out]),
        "noto": noto_pictures(work, table),
    }
    record: dict[str, object] = {}
    for name, pictures in parts.items():
        drawn, kept = thumbnails(pictures, SIDE, processes)
        np.save(folder / f"{name}.npy", drawn)
        record[name] = {"entities": [p.entity for p in kept], "designs": [p.design for p in kept]}
        log.info("corpus part=%s pictures=%d left_out=%d", name, len(kept), len(pictures) - len(kept))
    (folder / "corpus.json").write_text(json.dumps(record))


def load(work: Path) -> Corpus:
    """The corpus that `build` drew; thumbnails are mapped, not read, and words are read afresh from the packages."""
    folder = work / "corpus"
    record = json.loads((folder / "corpus.json").read_text())
    wordnet = WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet")
    entities = [*_emoji_entities(work, wordnet), *_clipart_entities(work, wordnet)]
    parts = {
        name: Part(np.load(folder / f"{name}.npy", mmap_mode="r"), record[name]["entities"], record[name]["designs"])
        for name in ("train", "held_out", "noto")
    }
    return Corpus({row.code: row for row in entities}, parts["train"], parts["held_out"], parts["noto"])
