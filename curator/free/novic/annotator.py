"""Owns NOVIC as a method of a run: options and files in, a column of decoded nouns with their probabilities out.

Knows neither the network nor the search from within. Source: NOVIC (Allgeuer, Ahrens, Wermter, WACV 2025).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from curator import options as read
from curator.annotators import Annotator, AnnotatorSpec, Means
from curator.data import ColumnSpec, ColumnValues, Embeddings
from curator.errors import NotFoundError
from curator.free.ranked import Ranked, labels_of
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

    from curator.free.novic.weights import Trained
    from curator.kernels.trie import Trie

_EMBEDDED = "embedded"
_BEAM = 5
_ROWS = 256  # images decoded at a time: the states of their beams fit into a cache


@runtime_checkable
class Speller(Protocol):
    """An encoder that says how its tokenizer spells a noun."""

    def spell(self, texts: Sequence[str]) -> list[list[int]]: ...


class Novic(Annotator):
    """Nouns that a decoder of the encoder's embeddings spells out, guided by the nouns that it knows, or by a list."""

    OPTIONS = frozenset({"decoder", "guide", "beam", "top_k", "temperature", "length_exponent", "exact", "unguided"})

    @classmethod
    def read(cls, spec: AnnotatorSpec, storage: Storage) -> AnnotatorSpec:
        cls.columns_of(spec)
        _search_of(spec)
        guide = spec.options.get("guide")
        exact = read.flag(spec, "exact", default=False)
        if read.flag(spec, "unguided", default=False) and (exact or guide is not None):
            raise read.fault(spec, f"{'exact' if exact else 'guide'} and unguided exclude each other: leave one out")
        settled: dict[str, Any] = {"decoder_digest": hashlib.sha256(_content(spec, storage)).hexdigest()}
        if isinstance(guide, str):
            settled["guide"] = read.lines(spec, "guide", storage)
        elif guide is not None:
            settled["guide"] = list(read.texts(spec, "guide", ()))
        return replace(spec, options={**spec.options, **settled})

    @classmethod
    def columns_of(cls, spec: AnnotatorSpec) -> tuple[ColumnSpec, ...]:
        top_k = read.whole(spec, "top_k", 5)
        return (ColumnSpec(spec.name, "labels", f"Nouns decoded from the embedding, best {top_k}, by probability"),)

    @classmethod
    def open(cls, spec: AnnotatorSpec, means: Means) -> Novic:
        from curator.free.novic.weights import from_bytes

        content = _content(spec, means.storage)
        read.unchanged(spec, "decoder", hashlib.sha256(content).hexdigest())
        source = read.text(spec, "decoder", _EMBEDDED)
        trained = from_bytes(content, source)
        trained.require(means.encoder.digest, source)
        return cls(spec, means, trained)

    def __init__(self, spec: AnnotatorSpec, means: Means, trained: Trained) -> None:
        super().__init__(spec, means.encoder)
        self._trained = replace(trained, model=trained.model.to(means.encoder.device))
        self._search = _search_of(spec)
        self._exact = read.flag(spec, "exact", default=False)
        self._top_k = read.whole(spec, "top_k", 5)
        self._names: list[str] = []
        self._guide: Trie | None = None
        if not read.flag(spec, "unguided", default=False):
            self._names, self._spelled, self._guide = _guide_of(spec, means, trained)

    def __call__(self, embeddings: Embeddings) -> dict[str, ColumnValues]:
        import torch

        blocks = [self._decoded(vectors) for vectors in torch.split(embeddings.vectors.float(), _ROWS)]
        return {self.name: labels_of(blocks)}

    def _decoded(self, vectors: Tensor) -> Ranked:
        if self._guide is None:
            return self._free(vectors)
        from curator.free.novic.search import score_all, search
        from curator.kernels.ranking import largest

        if self._exact:
            temperature = self._search["temperature"]
            every = score_all(self._trained.model, vectors, self._spelled, temperature=temperature)
            scores, numbers = largest(every, self._top_k)
        else:
            numbers, scores = search(self._trained.model, vectors, self._guide, **self._search)
        return self._ranked(self._names, numbers, scores)

    def _free(self, vectors: Tensor) -> Ranked:
        from curator.free.novic.search import search_freely

        tokens, scores = search_freely(self._trained.model, vectors, **self._search)
        words: dict[str, int] = {}
        rows = [[self._trained.text([n for n in tokens_of if n]) for tokens_of in row] for row in tokens.tolist()]
        numbers = [[words.setdefault(word, len(words)) for word in row] for row in rows]
        return self._ranked(list(words), vectors.new_tensor(numbers).long(), scores)

    def _ranked(self, words: Sequence[str], numbers: Tensor, scores: Tensor) -> Ranked:
        numbers, scores = numbers[:, : self._top_k], scores[:, : self._top_k]
        counts = scores.isfinite().sum(dim=1)
        found = numbers.clamp_min(0).cpu().numpy().astype(np.int64)
        return Ranked(words, found, scores.exp().float().cpu().numpy(), counts.cpu().numpy().astype(np.int64))


def _content(spec: AnnotatorSpec, storage: Storage) -> bytes:
    """The decoder's file. ConfigError where there is none."""
    from curator.free.novic.weights import EMBEDDED

    url = read.text(spec, "decoder", _EMBEDDED)
    try:
        return EMBEDDED.read_bytes() if url == _EMBEDDED else storage.read(url)
    except (NotFoundError, FileNotFoundError) as error:
        raise read.fault(spec, f"there is no decoder {url}; train one with jobs/train_decoder.py") from error


def _search_of(spec: AnnotatorSpec) -> dict[str, Any]:
    """The options of the search, which keeps no fewer beams than it gives nouns."""
    top_k = read.whole(spec, "top_k", 5)
    return {
        "beam": max(read.whole(spec, "beam", _BEAM), top_k),
        "temperature": read.number(spec, "temperature", 1.0, low=0.01),
        "length_exponent": read.number(spec, "length_exponent", 0.0, low=0.0),
    }


def _guide_of(spec: AnnotatorSpec, means: Means, trained: Trained) -> tuple[list[str], Tensor, Trie]:
    """The nouns that may be decoded, their compact token ids [N, longest], and the trie of these.

    ConfigError names nouns of the option ``guide`` that the decoder has no tokens for.
    """
    from curator.free.novic.model import END
    from curator.free.novic.weights import padded
    from curator.kernels.trie import Trie

    spelled: dict[tuple[int, ...], str] = {}
    if "guide" not in spec.options:
        spelled = dict(zip(trained.spelled, trained.nouns, strict=True))
    else:
        if not isinstance(means.encoder, Speller):
            raise read.fault(spec, "this encoder cannot spell a guide; leave it out")
        nouns = spec.options["guide"]
        missing = []
        for noun, ids in zip(nouns, means.encoder.spell(nouns), strict=True):
            compact = trained.compact(ids)
            if compact is None:
                missing.append(noun)
            else:
                spelled.setdefault(compact, noun)
        if missing:
            raise read.fault(
                spec,
                f"the decoder has no tokens for {len(missing)} of {len(nouns)} nouns of the guide, such as "
                f"{', '.join(map(repr, missing[:5]))}; leave them out, or train a decoder with them",
            )
    longest = max(len(sequence) for sequence in spelled)
    device = means.encoder.device
    trie = Trie.build(list(spelled), END).to(device)
    return list(spelled.values()), padded(list(spelled), longest).to(device), trie
