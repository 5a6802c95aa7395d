"""Make the set that the shipped head ``builtin:photo`` was taught by: photographs and drawings, as shards.

    python tests/benchmarks/photo_set.py --work DIR --shards MADE --output DIR

``photo_set.json`` names the photographs and drawings of five Debian packages, told apart by eye; other drawings are a
thousand pictures of MADE (see make_shards.py). A full picture (wallpaper) gives six cuts. The json of a sample has
``kind`` (photo, drawing) and ``group``: the picture that it was made from, so that cuts stay together.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from curator.training.sources import Package, debian_root, fetch

PACKAGES = (
    Package("debian", "tuxpaint-stamps-default", "2022.06.04-1", "GPL-2", "photo head"),
    Package("debian", "mate-backgrounds", "1.26.0-1", "GPL-2 and CC BY-SA 4.0", "photo head"),
    Package("debian", "lomiri-wallpapers-16.04", "20.04.0-2", "CC BY-SA 3.0", "photo head"),
    Package("debian", "lomiri-wallpapers-20.04", "20.04.0-2", "CC BY-SA 3.0", "photo head"),
    Package("debian", "ukui-wallpapers", "20.04.3-1.1", "CC BY-SA 4.0", "photo head"),
)
SIDE, CUTS, OTHERS, PER_SHARD = 256, 6, 1000, 250


def on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def cuts(image: Image.Image, draw: random.Random) -> Iterator[Image.Image]:
    for _ in range(CUTS):
        side = int(min(image.size) * draw.uniform(0.4, 1))
        left, top = draw.randint(0, image.width - side), draw.randint(0, image.height - side)
        yield image.crop((left, top, left + side, top + side))


def named(work: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """Kind, group and picture of every sample from the packages."""
    chosen = json.loads(Path(__file__).with_suffix(".json").read_text())
    roots = {package.name: debian_root(work, package) for package in PACKAGES}
    for kind, packages in sorted(chosen.items()):
        for package, names in sorted(packages.items()):
            for name in names:
                image = on_white(Image.open(roots[package] / name))
                if package == "tuxpaint-stamps-default":
                    yield kind, name, image
                else:
                    for cut in cuts(image, random.Random(name)):
                        yield kind, name, cut


def others(shards: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """Openclipart and emoji: every picture of these is a drawing."""
    left = OTHERS
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar}
            for name in sorted(members):
                if left and name.endswith((".jpg", ".png", ".webp")) and random.Random(name).random() < 0.2:
                    left -= 1
                    image = on_white(Image.open(io.BytesIO(tar.extractfile(members[name]).read())))
                    yield "drawing", f"{path.name}/{name}", image


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("work", "shards", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    fetch(arguments.work, PACKAGES)
    samples = [*named(arguments.work), *others(arguments.shards)]
    random.Random(0).shuffle(samples)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(samples), PER_SHARD):
        with tarfile.open(arguments.output / f"{start // PER_SHARD:03d}.tar", "w") as tar:
            for number, (kind, group, image) in enumerate(samples[start : start + PER_SHARD], start=start):
                image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                png = io.BytesIO()
                image.save(png, "PNG")
                metadata = json.dumps({"kind": kind, "group": group}).encode()
                for ending, data in (("png", png.getvalue()), ("json", metadata)):
                    info = tarfile.TarInfo(f"{number:05d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    kinds = [kind for kind, _, _ in samples]
    logging.info("%d photographs, %d drawings", kinds.count("photo"), kinds.count("drawing"))


if __name__ == "__main__":
    main()
