"""Owns "propose, then verify": texts that came with a sample are kept where the encoder agrees that they fit.

Knows not who proposed them: a caption, tags of another system, the words of a language model. After Visual Clues (Xie
et al., NeurIPS 2022), which lets the vision model choose among generated descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from curator import options as read
from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, TextBank
from curator.free.nouns import read_nouns, words_of
from curator.free.ranked import Ranked, labels_of
from curator.kernels.fields import texts_at
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 64  # images whose proposals meet all distractors at a time
_SOURCE = re.compile(r"caption|json(\.[^.]+)+")


class Verify(Annotator):
    """Proposals are kept when they beat a share of distractors, by their probability against these."""

    OPTIONS = frozenset({"texts", "split", "distractors", "template", "wins", "top_k"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        for source in read.texts(spec, "texts", ("caption",)):
            if not _SOURCE.fullmatch(source):
                raise read.fault(spec, f"texts names {source!r}; a source is caption, or json.FIELD (nested by dots)")
        read.pattern(spec, "template", "{}", "{}")
        read.number(spec, "wins", 0.99, low=0.0, high=1.0)
        cls.columns_of(spec)
        return read_nouns(spec, "distractors", storage)

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        sources = ", ".join(read.texts(spec, "texts", ("caption",)))
        top_k = read.whole(spec, "top_k", 5)
        if "split" in spec.options:
            read.text(spec, "split", ",")
        return (
            ColumnSpec(
                spec.name,
                "labels",
                f"Best {top_k} texts of {sources} that fit the image, by probability against others",
            ),
            ColumnSpec(f"{spec.name}_proposed", "strings", f"All texts of {sources}, before they were verified"),
        )

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Verify:
        from curator.labels.banks import text_bank

        names, template = words_of(spec, "distractors"), read.pattern(spec, "template", "{}", "{}")
        bank = text_bank([template.format(name) for name in names], means.encoder, cache_dir=means.cache_dir)
        return cls(spec, means, replace(bank, names=tuple(names)))

    def __init__(self, spec: AnnotatorSpec, means: Means, distractors: TextBank) -> None:
        super().__init__(spec, means.encoder)
        self._sources = read.texts(spec, "texts", ("caption",))
        self._split = read.text(spec, "split", ",") if "split" in spec.options else None
        self._template = read.pattern(spec, "template", "{}", "{}")
        self._wins = read.number(spec, "wins", 0.99, low=0.0, high=1.0)
        self._top_k = read.whole(spec, "top_k", 5)
        self._texts = means.texts
        self._scale = means.encoder.logit_scale
        self._others = distractors.vectors.to(means.encoder.device)
        self._place = {_plain(name): row for row, name in enumerate(distractors.names)}

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        import torch

        proposed = [
            self._proposals(caption, metadata)
            for caption, metadata in zip(embeddings.captions, embeddings.metadata, strict=True)
        ]
        blocks = [
            self._verified(vectors, proposed[start : start + _ROWS])
            for start, vectors in zip(
                range(0, len(proposed), _ROWS), torch.split(embeddings.vectors, _ROWS), strict=True
            )
        ]
        return {self.name: labels_of(blocks), self.columns[1].name: proposed}

    def _proposals(self, caption: str | None, metadata: bytes | None) -> list[str]:
        """The texts that came with a sample, in order of the sources, without repeats."""
        found: list[str] = []
        for source in self._sources:
            if source == "caption":
                found += [caption or ""]
            else:
                found += texts_at(metadata, source.split(".")[1:]) or ()
        pieces = (piece for text in found for piece in (text.split(self._split) if self._split else [text]))
        return list(dict.fromkeys(text for piece in pieces if (text := " ".join(piece.split()))))

    def _verified(self, images: Tensor, proposed: Sequence[Sequence[str]]) -> Ranked:
        import torch

        from curator.kernels.naming import against

        counts = np.array([len(texts) for texts in proposed], np.int64)
        if not counts.sum():
            return _ranked((), np.full((len(counts), 0), -np.inf, np.float32), self._top_k)
        texts = list(dict.fromkeys(text for each in proposed for text in each))
        place = {text: column for column, text in enumerate(texts)}
        columns = np.array([place[text] for each in proposed for text in each], np.int64)
        rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(images.device)
        vectors = self._texts([self._template.format(text) for text in texts])[
            torch.from_numpy(columns).to(images.device)
        ]
        itself = torch.tensor([self._place.get(_plain(texts[column]), -1) for column in columns.tolist()])
        probability, beaten = against(
            (images[rows] * vectors).sum(dim=1),
            (images @ self._others.T)[rows],
            scale=self._scale,
            itself=itself.to(images.device),
        )
        scores = np.full((len(counts), len(texts)), -np.inf, np.float32)
        kept = (beaten >= self._wins).cpu().numpy()
        scores[rows.cpu().numpy()[kept], columns[kept]] = probability.cpu().numpy()[kept]
        return _ranked(texts, scores, self._top_k)


def _ranked(texts: Sequence[str], scores: np.ndarray[tuple[int, ...], np.dtype[np.float32]], top_k: int) -> Ranked:
    """The best ``top_k`` of what has a score, which is -inf where a text was not proposed or did not win."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    counts = np.minimum(np.isfinite(scores).sum(axis=1), order.shape[1])
    return Ranked(texts, order, np.take_along_axis(scores, order, axis=1), counts)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
