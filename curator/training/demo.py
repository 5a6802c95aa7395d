"""Own the choice of pictures for the demo shards: what is in which shard, in which format, under which caption.

None of the pictures was trained on: openclipart comes from the held-out share, Noto is the test design. It refuses to
know the encoder.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
from pathlib import Path

from PIL import Image

from curator.training import sources
from curator.training.clipart import Clipart, read_clipart
from curator.training.emoji import Emoji, read_table
from curator.training.pictures import Picture, icon_svgs, open_picture
from curator.training.shardfile import Drawn, encode, write_shard
from curator.wordnet.files import WordNet

log = logging.getLogger(__name__)

SHARDS = 3
ENDINGS = ("jpg", "png", "webp", "png", "jpg", "webp", "jpg")
_NOTO_COUNT = 160
_UNTELLING = re.compile(
    "computer|application|star|card|gold|button|device|player|shape|user|midi|cancel|sport|mail|amor|people|background|"
    "advertising|container|transport|animal|mammal|leone|samoa|bar|logo|antenna|math|add|cut|exec|wings|thought|polynesia|"
    "rilievo|pong|internet|party|head|browser|blender|desert"
)
"""Titles of openclipart that say too little, or something else, about their pictures."""
_LEAST_SIDE = 64
_NOT_AN_IMAGE = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>"
    b"<body><h1>Not Found</h1><p>The requested picture was not found on this server.</p></body></html>\n"
)


def main(arguments: list[str] | None = None) -> None:
    """Write `demo-0000.tar` and its siblings: the same bytes for the same packages, vocabulary and Pillow."""
    parser = argparse.ArgumentParser(description="Write the demo shards.")
    parser.add_argument("--work", type=Path, required=True, help="directory of the downloads")
    parser.add_argument("--output", type=Path, required=True, help="directory for the shards")
    parser.add_argument("--vocabulary", type=Path, required=True, help="labels that the Noto pictures are chosen by")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    used = (sources.EMOJILIB, sources.EMOJIBASE, sources.GOOGLE, sources.NOTO)
    sources.fetch(options.work, (*used, sources.CLIPART_PNG, sources.CLIPART_SVG, sources.WORDNET))
    labels = options.vocabulary.read_text(encoding="utf-8").split("\n")
    build(options.work, options.output, [label for label in labels if label])


def build(work: Path, output: Path, labels: list[str]) -> None:
    """Draw the chosen pictures and write the shards; one member is cut short and one is a web page."""
    wordnet = WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet")
    rng = random.Random(7)
    chosen = [
        *_noto(work, read_table(work), labels, rng),
        *_clipart(read_clipart(work, wordnet.nouns), labels, wordnet),
    ]
    rng.shuffle(chosen)
    samples = []
    for number, (picture, caption, metadata) in enumerate(chosen):
        ending = ENDINGS[number % len(ENDINGS)]
        image = _moderate(open_picture(picture, rng.choice((112, 144, 176, 208))))
        samples.append(Drawn(f"{number:06d}", ending, encode(image, ending), caption, {**metadata, "number": number}))
    samples = _spoil(samples)
    output.mkdir(parents=True, exist_ok=True)
    for shard in range(SHARDS):
        count = write_shard(output / f"demo-{shard:04d}.tar", samples[shard::SHARDS])
        log.info("shard demo-%04d.tar samples=%d", shard, count)


def _moderate(image: Image.Image) -> Image.Image:
    """Very flat pictures get a square canvas, so that no side is only a few pixels."""
    short, long = sorted(image.size)
    if short * 4 >= long:
        return image
    canvas = Image.new("RGBA", (long, long), (255, 255, 255, 0))
    canvas.paste(image, ((long - image.width) // 2, (long - image.height) // 2))
    return canvas


def _noto(
    work: Path, table: list[Emoji], labels: list[str], rng: random.Random
) -> list[tuple[Picture, str, dict[str, str]]]:
    drawings = dict(icon_svgs(sources.npm_root(work, sources.NOTO)))
    by_label = {emoji.label: emoji for emoji in table}
    found = []
    for label in labels:
        svg = drawings.get(label.replace("'", "").replace(" ", "-"))
        if label in by_label and svg:
            emoji = by_label[label]
            caption = rng.choice(("{}", "a picture of {}", "{} emoji", "an icon of {}")).format(label)
            facts = {
                "source": "noto-emoji",
                "licence": "Apache-2.0",
                "title": label,
                "label": label,
                "group": emoji.group,
            }
            found.append((Picture(emoji.code, "noto", svg=svg), caption, facts))
    rng.shuffle(found)
    return found[:_NOTO_COUNT]


def _clipart(clipart: list[Clipart], labels: list[str], wordnet: WordNet) -> list[tuple[Picture, str, dict[str, str]]]:
    """Held-out pictures whose title is a noun or holds a label, one of a title, none of them tiny."""
    found = []
    seen: dict[str, int] = {}
    for item in clipart:
        seen[item.title] = seen.get(item.title, 0) + item.held_out
        words = [item.title, *item.title.split()]
        label = next((word for word in words if word in labels), None)
        telling = label is not None or bool(wordnet.senses(item.title))
        untelling = _UNTELLING.fullmatch(item.title)
        if not item.held_out or not telling or untelling or seen[item.title] > 1:
            continue
        with Image.open(item.path) as image:
            if max(image.size) < _LEAST_SIDE:
                continue
        facts = {"source": "openclipart", "licence": "CC0-1.0", "title": item.title, "path": item.code}
        if label:
            facts["label"] = label
        found.append((Picture(item.code, "openclipart", path=item.path), item.title, facts))
    return found


def _spoil(samples: list[Drawn]) -> list[Drawn]:
    """Cut one png to two thirds, and put a web page where one jpg was."""
    cut = next(row for row, sample in enumerate(samples) if row > 40 and sample.ending == "png")
    page = next(row for row, sample in enumerate(samples) if row > 120 and sample.ending == "jpg")
    for row, content, fault in (
        (cut, samples[cut].image[: len(samples[cut].image) * 2 // 3], "truncated on purpose"),
        (page, _NOT_AN_IMAGE, "a web page on purpose"),
    ):
        old = samples[row]
        samples[row] = Drawn(old.key, old.ending, content, old.caption, {**old.metadata, "fault": fault})
    return samples
