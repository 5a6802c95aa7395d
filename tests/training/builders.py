"""A corpus of a few painted pictures, so that the tests of the training need no download."""

from __future__ import annotations

import numpy as np

from curator.training.corpus import SIDE, Corpus, Entity, Part

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 230), "yellow": (240, 220, 20)}


def entities() -> dict[str, Entity]:
    """One entity per colour and shape: eight in all; shapes are kinds that several entities share."""
    found = {}
    for colour in COLOURS:
        for shape in ("square", "bar"):
            code = f"{colour}-{shape}"
            found[code] = Entity(code, (f"{colour} {shape}", f"{shape} in {colour}"), (colour,), (shape,), mirror=True)
    return found


def paint(code: str, variant: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The picture of an entity, uint8 [SIDE, SIDE, 4]; variants differ in size."""
    colour, shape = code.split("-")
    picture = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    margin = 10 + 4 * variant
    rows = slice(margin, SIDE - margin) if shape == "square" else slice(SIDE // 2 - 8, SIDE // 2 + 8)
    picture[rows, margin : SIDE - margin] = (*COLOURS[colour], 255)
    return picture


def corpus() -> Corpus:
    """Two designs of every entity to train on; the third is held out, and stands for Noto as well."""
    known = entities()
    codes = list(known)
    pairs = [(code, variant) for code in codes for variant in (0, 1)]
    train = Part(
        np.stack([paint(code, variant) for code, variant in pairs]),
        [code for code, _ in pairs],
        [f"design-{variant}" for _, variant in pairs],
    )
    other = Part(np.stack([paint(code, 2) for code in codes]), codes, ["design-2"] * len(codes))
    return Corpus(known, train, other, other)
