"""Owns the drawing of how often concepts occur, for those who have matplotlib (extra ``report``). Counts nothing."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa

from curator.evaluation.figures import blank


def draw_long_tail(concepts: pa.Table, rare: int) -> bytes:
    """A PNG of n_text, n_image and n_both by rank, both axes logarithmic, with the bound of what is rare.

    Concepts that never occur are not drawn; the title says how many there are. ConfigError without matplotlib.
    """
    figure, (axes,) = blank(1, width=7.0)
    for name, words in (("n_text", "in captions"), ("n_image", "in images"), ("n_both", "in both")):
        numbers = np.sort(concepts[name].to_numpy())[::-1]
        seen = numbers[numbers > 0]
        absent = len(numbers) - len(seen)
        if len(seen):
            axes.plot(np.arange(1, len(seen) + 1), seen, label=f"{words} ({absent} never)", linewidth=1.5)
    axes.axhline(max(rare, 1), color="grey", linestyle=":", label=f"rare: below {rare}")
    axes.set(xscale="log", yscale="log", xlabel="rank of the concept", ylabel="rows")
    axes.set_title(f"{concepts.num_rows} concepts by frequency")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
