"""Owns the columns of what an image is without its content: its shape, and how sharp and how varied it is."""

from __future__ import annotations

import numpy as np

from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.kernels.pixels import entropy_bits, laplacian_variance, luma


class ImageShape(Annotator):
    """``NAME_pixels`` and ``NAME_aspect`` of the image as stored, known without reading it again."""

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        return (
            ColumnSpec(f"{spec.name}_pixels", "count", "Width times height of the image as stored"),
            ColumnSpec(f"{spec.name}_aspect", "score", "Longer side of the image as stored over its shorter one"),
        )

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> ImageShape:
        return cls(spec, means.encoder)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        known = [size or (-1, 1) for size in embeddings.sizes]
        pixels = np.array([max(width * height, -1) for width, height in known], np.int64)
        sides = np.array(known, np.float32).reshape(-1, 2)
        aspect = np.where(pixels > 0, sides.max(axis=1) / np.maximum(sides.min(axis=1), 1), np.nan)
        return {f"{self.name}_pixels": pixels, f"{self.name}_aspect": aspect.astype(np.float32)}


class ImageStats(Annotator):
    """``NAME_blur`` and ``NAME_entropy`` of the picture as the encoder sees it, so that sizes do not count."""

    NEEDS = frozenset({"pixels"})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        blur = "Variance of the Laplacian of the grey picture at the encoder's size: low is blurred"
        entropy = "Shannon entropy of its 256 grey levels, in bits: low is flat"
        return (
            ColumnSpec(f"{spec.name}_blur", "score", blur),
            ColumnSpec(f"{spec.name}_entropy", "score", entropy),
        )

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> ImageStats:
        return cls(spec, means.encoder)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        if embeddings.pixels is None:
            raise RuntimeError(f"scores {self.name!r}: called without pixels")
        greys = [luma(pixels) for pixels in embeddings.pixels]
        return {
            f"{self.name}_blur": np.array([laplacian_variance(grey) for grey in greys], np.float32),
            f"{self.name}_entropy": np.array([entropy_bits(grey) for grey in greys], np.float32),
        }
