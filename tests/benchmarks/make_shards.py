"""Make N real pictures (openclipart and emoji of many designs) into WebDataset shards for acceptance runs and timings.

    python tests/benchmarks/make_shards.py --work DIR --output DIR [--count 10000] [--per-shard 500] [--side 256]

The same arguments give the same bytes (with the same Pillow). Downloads come through npm and apt into the work
directory.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from curator.errors import ConfigError
from curator.training import sources
from curator.training.clipart import clipart_pictures, read_clipart
from curator.training.emoji import noto_pictures, read_table, training_pictures
from curator.training.pictures import Picture, open_picture
from curator.training.shardfile import Drawn, encode, split, write_shard
from curator.wordnet.files import WordNet

ENDINGS = ("jpg",) * 5 + ("png",) * 3 + ("webp",) * 2


def gather(work: Path) -> tuple[list[Picture], list[Picture], dict[str, str]]:
    """Openclipart pictures, emoji pictures of all designs, and a caption for every entity."""
    table = read_table(work)
    clipart = read_clipart(work, WordNet(sources.debian_root(work, sources.WORDNET) / "wordnet").nouns)
    captions = {emoji.code: emoji.label for emoji in table}
    captions |= {item.code: item.title or " ".join(item.categories) for item in clipart}
    return clipart_pictures(clipart), [*training_pictures(work, table), *noto_pictures(work, table)], captions


def draw(job: tuple[int, Picture, str, int]) -> Drawn | None:
    """Encode one picture; None where the source file is no usable picture."""
    number, picture, caption, side = job
    try:
        image = open_picture(picture, side)
    except (OSError, SyntaxError, ValueError):
        return None
    ending = ENDINGS[random.Random(f"{picture.design}/{picture.entity}").randrange(len(ENDINGS))]
    metadata = {"design": picture.design, "entity": picture.entity, "width": image.width, "height": image.height}
    return Drawn(f"{number:07d}", ending, encode(image, ending), caption, metadata)


def main() -> None:
    """Parse the arguments, draw until enough pictures are there, write the shards and an index of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--per-shard", type=int, default=500)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    Image.MAX_IMAGE_PIXELS = None
    sources.fetch(options.work)
    clipart, emoji, captions = gather(options.work)
    rng = random.Random(options.seed)
    rng.shuffle(clipart)
    rng.shuffle(emoji)
    chosen = [*clipart, *emoji][: options.count + 200]
    rng.shuffle(chosen)
    jobs = [(number, picture, captions[picture.entity], options.side) for number, picture in enumerate(chosen)]
    with ProcessPoolExecutor(options.processes) as pool:
        drawn = [sample for sample in pool.map(draw, jobs, chunksize=64) if sample is not None][: options.count]
    if len(drawn) < options.count:
        raise ConfigError(f"{len(drawn)} usable pictures, {options.count} asked for; ask for fewer")
    options.output.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(split(drawn, options.per_shard)):
        write_shard(options.output / f"{number:05d}.tar", part)
    record = {"samples": len(drawn), "bytes": sum(path.stat().st_size for path in options.output.glob("*.tar"))}
    print(json.dumps(record))


if __name__ == "__main__":
    main()
