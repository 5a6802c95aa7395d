"""Owns the heads that score a label by its descriptors: classification by description (DCLIP), WaffleCLIP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, TextBank
from curator.labels.banks import text_bank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import by_label, require_all, with_contents
from curator.labels.heads.dense import DenseHead, Scored, strings_column
from curator.labels.heads.texts import Ragged, ragged
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import choice, pattern, phrases, text, whole
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_PATTERN = "A photo of a {label}, {description}."


class DclipHead(DenseHead):
    """A label's score is the mean (or maximum) of the cosines of its descriptors (Menon & Vondrick 2023).

    Options: ``descriptions``, the published form {"label": ["descriptor", …], …}; ``pattern`` of the prompts;
    ``aggregate`` mean | max; ``evidence`` (3): so many descriptors of the best label, those that fit most, go to
    ``NAME_evidence``; others as ``zero_shot``. A label without descriptors is scored by its name alone.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"descriptions", "pattern", "aggregate", "evidence"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "descriptions")
        prompts(spec, descriptors(spec))
        return spec

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        choice(spec, "aggregate", "mean", ("mean", "max"))
        columns = super().columns_of(spec)
        if whole(spec, "evidence", 3, low=0):
            columns += (strings_column(spec, "evidence", "The descriptors of the best label that fit best"),)
        return columns

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        from curator.kernels.descriptions import plain_means

        found = prompts(spec, descriptors(spec))
        bank = text_bank(found.unique, encoder, cache_dir=cache_dir)
        means = plain_means(bank.vectors[found.rows], found.owners, len(spec.vocabulary))
        return {
            "labels": TextBank(spec.vocabulary.ids, spec.vocabulary.names, means, found.digest(bank)),
            "descriptions": bank,
        }

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        super().__init__(spec, banks, scale=scale, bias=bias)
        self._descriptors = descriptors(spec)
        self._ragged = prompts(spec, self._descriptors)
        self._texts = banks["descriptions"].vectors.to(self._vectors.dtype)
        self._largest = spec.options.get("aggregate", "mean") == "max"
        self._evidence = whole(spec, "evidence", 3, low=0)

    @property
    def width(self) -> int:
        """The cosines of a row; for the evidence alone, the descriptors of its best label."""
        longest = max(len(own) for own in self._ragged.lists) * self._texts.shape[1]
        return max(len(self._ragged.rows) if self._largest else len(self._bank.names), longest)

    def score(self, vectors: Tensor) -> Scored:
        from curator.kernels.descriptions import group_max
        from curator.kernels.ranking import largest

        if self._texts.device != vectors.device:
            self._texts, self._vectors = self._texts.to(vectors.device), self._vectors.to(vectors.device)
        low = vectors.to(self._texts.dtype)
        if self._largest:
            rows, owners = self._ragged.rows.to(vectors.device), self._ragged.owners.to(vectors.device)
            cosines = group_max((low @ self._texts.T)[:, rows], owners, len(self._bank.names)).float()
        else:
            cosines = (low @ self._vectors.T).float()
        if not self._evidence:
            return Scored(self.probabilities(cosines))
        best = largest(cosines, 1)[1].squeeze(1).tolist()
        return Scored(self.probabilities(cosines), {f"{self.name}_evidence": self._explain(low, best)})

    def _explain(self, vectors: Tensor, best: list[int]) -> list[list[str]]:
        from curator.kernels.ranking import largest

        lists: list[list[str]] = [[] for _ in best]
        by_label: dict[int, list[int]] = {}
        for row, label in enumerate(best):
            by_label.setdefault(label, []).append(row)
        for label, rows in by_label.items():
            cosines = vectors[rows] @ self._texts[list(self._ragged.lists[label])].T
            for row, order in zip(rows, largest(cosines, self._evidence)[1].tolist(), strict=True):
                own = self._descriptors[label]
                lists[row] = [own[position] for position in order] if own else []
        return lists


class WaffleHead(ZeroShotHead):
    """DCLIP with random descriptors that all labels share: the control for every description (Roth et al. 2023).

    Options: ``pairs`` (15) of random words and random characters, ``seed`` (0), ``words`` (a JSON list of words;
    without it characters alone), ``alphabet`` (the characters, a to z), ``pattern`` of the prompts; others as
    ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"pairs", "seed", "words", "alphabet", "pattern"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "words", required=False)
        random_descriptors(spec)
        return spec

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        from curator.kernels.descriptions import plain_means

        own = random_descriptors(spec)
        found = prompts(spec, [own] * len(spec.vocabulary), whole_words=False)
        bank = text_bank(found.unique, encoder, cache_dir=cache_dir)
        means = plain_means(bank.vectors[found.rows], found.owners, len(spec.vocabulary))
        return {"labels": TextBank(spec.vocabulary.ids, spec.vocabulary.names, means, found.digest(bank))}


def descriptors(spec: LabelSetSpec) -> list[tuple[str, ...]]:
    """Every label's descriptors, in the order of the vocabulary, none that says the same twice."""
    from curator.kernels.descriptions import descriptor_sentence

    found = by_label(spec, "descriptions")
    require_all(spec, "descriptions", found)
    # "wings" and "has wings" are one sentence, which counts once.
    own = ({descriptor_sentence(each): each for each in found[row] if each} for row in range(len(spec.vocabulary)))
    return [tuple(sentences.values()) for sentences in own]


def random_descriptors(spec: LabelSetSpec) -> tuple[str, ...]:
    """The random descriptors that all labels of a waffle label set share. Repeats count once."""
    from curator.kernels.descriptions import waffle

    words = phrases(spec, "words", spec.options.get("words", ()))
    alphabet = text(spec, "alphabet", "abcdefghijklmnopqrstuvwxyz")
    drawn = waffle(
        [_worded(name) for name in spec.vocabulary.names],
        words,
        alphabet,
        pairs=whole(spec, "pairs", 15, low=1),
        seed=whole(spec, "seed", 0, low=0),
    )
    return tuple(drawn)


def prompts(spec: LabelSetSpec, own: list[tuple[str, ...]], *, whole_words: bool = True) -> Ragged:
    """The prompt of every descriptor, by label; the bare prompt for a label without any."""
    from curator.kernels.descriptions import descriptor_sentence

    prompt = pattern(spec, "pattern", _PATTERN, "{label}", "{description}")
    lists = []
    for name, each in zip(spec.vocabulary.names, own, strict=True):
        filled = [(descriptor_sentence(descriptor, whole_words=whole_words)) for descriptor in each]
        plain = prompt.replace(", {description}", "").replace("{description}", "").replace("{label}", _worded(name))
        lists.append(
            [prompt.replace("{description}", each).replace("{label}", _worded(name)) for each in filled] or [plain]
        )
    return ragged(lists)


def _worded(name: str) -> str:
    return name.replace("_", " ")
