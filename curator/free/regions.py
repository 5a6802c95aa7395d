"""Owns labels of places: a coarse map of words over an image's patches, and the words of the whole image from it.

Knows no encoder from within: patches come in the space of its texts. After ReLabel (Yun et al., CVPR 2021), whose maps
come from a supervised classifier, and dense CaSED (Conti et al., "Vocabulary-free Image Classification and Semantic
Segmentation", 2024), here over patches instead of crops.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from curator import options as read
from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings, TextBank
from curator.free.banks import open_bank
from curator.free.cased import Cased
from curator.free.nouns import read_nouns, words_of
from curator.free.pos import open_filter
from curator.free.ranked import Ranked, labels_of
from curator.storage.base import Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


logger = logging.getLogger(__name__)

_QUERIES = 1024  # cells whose captions are looked up at a time
_OF_CAPTIONS = frozenset({"alpha", "captions", "cells", "exact", "pos"})


@runtime_checkable
class PatchEncoder(Protocol):
    """An encoder that says how many rows and columns of patches it sees; ConfigError where it sees none."""

    @property
    def patch_grid(self) -> tuple[int, int]: ...


class Regions(Annotator):
    """Every patch gets the nearest word of a list or, with ``bank``, the best of the words in nearest captions (CaSED).

    Those are the captions of the whole image or, with ``cells``, of the patch's own cell of the image: dense CaSED.
    """

    OPTIONS = frozenset(
        {"words", "bank", "exact", "captions", "cells", "alpha", "pos", "template", "min_score", "top_k"}
    )
    NEEDS = frozenset({"patches"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        read.pattern(spec, "template", "{}", "{}")
        read.number(spec, "min_score", 0.0, low=0.0, high=1.0)
        cls.columns_of(spec)
        if "bank" not in spec.options:
            for key in sorted(_OF_CAPTIONS & spec.options.keys()):
                raise read.fault(spec, f'{key} is for words of captions: give bank = "embedded" or the url of a bank')
            return read_nouns(spec, "words", storage)
        if "words" in spec.options:
            raise read.fault(spec, "words and bank exclude each other: leave one out")
        read.whole(spec, "cells", 1, low=1, high=64)
        settled = Cased.read(_retrieval(spec), storage)
        return replace(spec, options={**spec.options, "bank_digest": settled.options["bank_digest"]})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        top_k = read.whole(spec, "top_k", 5)
        return (
            ColumnSpec(spec.name, "labels", f"Best {top_k} words of the image's patches, by the share that they cover"),
            ColumnSpec(
                f"{spec.name}_map",
                "strings",
                "The word of each patch of the encoder's grid, row by row; empty below min_score",
            ),
        )

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Regions:
        from curator.labels.banks import text_bank

        if not isinstance(means.encoder, PatchEncoder):
            raise read.fault(spec, "this encoder gives no patches; use one of open_clip's own ViTs, such as ViT-B-32")
        logger.info("%s: regions of %d rows and %d columns", spec.name, *means.encoder.patch_grid)
        if "bank" not in spec.options:
            names, template = words_of(spec, "words"), read.pattern(spec, "template", "{}", "{}")
            bank = text_bank([template.format(name) for name in names], means.encoder, cache_dir=means.cache_dir)
            return cls(spec, means, replace(bank, names=tuple(names)), None)
        keep = open_filter(read.text(spec, "pos", "wordnet"))
        return cls(spec, means, None, Cased(_retrieval(spec), means, open_bank(spec, means), keep))

    def __init__(self, spec: AnnotatorSpec, means: Means, words: TextBank | None, captions: Cased | None) -> None:
        super().__init__(spec, means.encoder)
        self._texts = means.texts
        self._scale = means.encoder.logit_scale
        self._template = read.pattern(spec, "template", "{}", "{}")
        self._least = read.number(spec, "min_score", 0.0, low=0.0, high=1.0)
        self._top_k = read.whole(spec, "top_k", 5)
        self._alpha = read.number(spec, "alpha", 0.7, low=0.0, high=1.0)
        self._cells = read.whole(spec, "cells", 1)
        self._captions = captions
        self._words = () if words is None else words.names
        self._bank = None if words is None else words.vectors.to(means.encoder.device)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        assert embeddings.patches is not None, "a run that reads images gives patches to who needs them"
        if self._captions is None:
            words, places, scores = self._of_list(embeddings.patches.flatten(1, 2))
        else:
            words, places, scores = self._of_captions(embeddings, embeddings.patches, self._captions)
        kept = (scores >= self._least).cpu().numpy()
        codes = places.cpu().numpy()
        maps = [
            [words[code] if keep else "" for code, keep in zip(row, keeps, strict=True)]
            for row, keeps in zip(codes.tolist(), kept.tolist(), strict=True)
        ]
        return {self.name: labels_of([self._covered(words, codes, kept)]), self.columns[1].name: maps}

    def _of_list(self, patches: Tensor) -> tuple[Sequence[str], Tensor, Tensor]:
        """The words, the nearest of them to each patch [B, P], and its probability among all."""
        from curator.kernels.ranking import rank

        assert self._bank is not None
        found = rank(patches.flatten(0, 1), self._bank, 1, scale=self._scale)
        assert found.log_sum_exp is not None
        scores = (found.scores[:, 0] * self._scale - found.log_sum_exp).exp()
        return self._words, found.indices[:, 0].view(patches.shape[:2]), scores.view(patches.shape[:2])

    def _of_captions(
        self, embeddings: Embeddings, patches: Tensor, cased: Cased
    ) -> tuple[Sequence[str], Tensor, Tensor]:
        """The same among the candidates of the cell that a patch is in, by their scores in CaSED."""
        import torch

        from curator.kernels.candidates import candidate_scores
        from curator.kernels.cells import cell_means, cells_of

        rows, columns, _ = patches.shape[1:]
        cells = cells_of(rows, columns, self._cells).to(patches.device)
        queries = cell_means(patches, cells) if self._cells > 1 else embeddings.vectors[:, None]
        candidates: list[list[str]] = []
        centroids = []
        for some in torch.split(queries.flatten(0, 1), _QUERIES):
            captions, middle = cased.retrieve(some)
            candidates += cased.candidates(captions)
            centroids.append(middle)
        centroid = torch.cat(centroids).view(queries.shape)
        words = sorted({word for each in candidates for word in each})
        vectors = self._texts([self._template.format(word) for word in words])
        column = {word: place for place, word in enumerate(words)}
        places, scores = [], []
        for row, of_image in enumerate(patches.flatten(1, 2)):  # image by image: all words of all would be many
            own = candidates[row * queries.shape[1] : (row + 1) * queries.shape[1]]
            used = sorted({column[word] for each in own for word in each})
            mask = torch.tensor([[words[place] in each for place in used] for each in map(set, own)])
            shares = candidate_scores(
                of_image, centroid[row][cells], vectors[used], mask.to(patches.device)[cells],
                scale=self._scale, alpha=self._alpha,
            )  # fmt: skip
            best, place = shares.max(dim=1)
            places.append(torch.tensor(used, device=patches.device)[place])
            scores.append(best)
        return words, torch.stack(places), torch.stack(scores)

    def _covered(
        self,
        words: Sequence[str],
        codes: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
        kept: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    ) -> Ranked:
        """Words by the share of an image's patches that have them; equal shares by the order of the words."""
        ranked = [np.unique(row[keep], return_counts=True) for row, keep in zip(codes, kept, strict=True)]
        width = max((min(len(each), self._top_k) for each, _ in ranked), default=0)
        indices = np.zeros((len(ranked), width), np.int64)
        shares = np.zeros((len(ranked), width), np.float32)
        for row, (found, counts) in enumerate(ranked):
            order = np.argsort(-counts, kind="stable")[: self._top_k]
            indices[row, : len(order)] = found[order]
            shares[row, : len(order)] = counts[order] / codes.shape[1]
        return Ranked(words, indices, shares, np.array([min(len(each), self._top_k) for each, _ in ranked], np.int64))


def _retrieval(spec: AnnotatorSpec) -> AnnotatorSpec:
    """What is asked of CaSED: the options that the two have in common."""
    shared = Cased.OPTIONS & Regions.OPTIONS
    return AnnotatorSpec(spec.name, spec.method, {key: value for key, value in spec.options.items() if key in shared})
