"""Owns the heads that look twice: an image's best k labels, told apart by texts for just those k (FuDD, DisCLIP)."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.annotators import TextEncoder
from curator.data import ColumnSpec, TextBank
from curator.kernels.names import plain
from curator.labels.banks import build_bank, prompts_of, text_bank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import label_row, label_rows, with_contents
from curator.labels.heads.dclip import descriptors
from curator.labels.heads.dense import DenseHead, Scored
from curator.labels.heads.texts import Ragged, ragged
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import fault, number, pattern, phrases, table, whole
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_SETS_KEPT = 4096


class LocalHead(DenseHead):
    """Re-ranks each image's best ``k`` labels by vectors made for that set of labels alone.

    The k share the probability that they had together; labels outside keep theirs. ``NAME_first`` is the plain best
    label. Rows whose plain best leads by ``margin`` or more are left as they were.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"k", "margin"}
    _K = 10

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        whole(spec, "k", cls._K, low=2)
        number(spec, "margin", 1.0, low=0.0, high=1.0)
        first = ColumnSpec(f"{spec.name}_first", "labels", "The best label before the second look")
        return (*super().columns_of(spec), first)

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        super().__init__(spec, banks, scale=scale, bias=bias)
        self._k = min(whole(spec, "k", self._K, low=2), len(self._bank.names))
        self._margin = number(spec, "margin", 1.0, low=0.0, high=1.0)
        self._texts = banks["texts"].vectors
        self._sets: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()

    @abstractmethod
    def vectors_for(self, labels: tuple[int, ...]) -> Tensor:
        """Vectors [k, D] of ``labels``, made to tell just them apart."""

    def score(self, vectors: Tensor) -> Scored:
        import torch

        from curator.kernels.ranking import largest

        if self._vectors.device != vectors.device:
            self._vectors, self._texts = self._vectors.to(vectors.device), self._texts.to(vectors.device)
        plainly = self.probabilities((vectors.to(self._vectors.dtype) @ self._vectors.T).float())
        scores, best = largest(plainly, self._k)
        first = self.ranked_first(scores, best)
        final = plainly.clone()
        doubtful = torch.ones(len(final), dtype=torch.bool, device=final.device)
        if self._margin < 1 and scores.shape[1] > 1:
            doubtful = scores[:, 0] - scores[:, 1] < self._margin
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, labels in zip(doubtful.nonzero()[:, 0].tolist(), best[doubtful].sort(dim=1)[0].tolist(), strict=True):
            groups.setdefault(tuple(labels), []).append(row)
        for labels, rows in groups.items():
            index = torch.tensor(labels, device=vectors.device)
            again = self.probabilities(vectors[rows] @ self._kept(labels).T)
            if self._family == "softmax":
                again = again * plainly[rows][:, index].sum(dim=1, keepdim=True)
            else:  # scores of other texts: those outside must not come to stand between
                final[rows] = torch.minimum(final[rows], again.amin(dim=1, keepdim=True))
            final[torch.tensor(rows, device=vectors.device).unsqueeze(1), index] = again
        return Scored(final, {f"{self.name}_first": first})

    def ranked_first(self, scores: Tensor, best: Tensor) -> Any:
        from curator.labels.heads.dense import ranked_labels

        return ranked_labels(self._bank, scores[:, :1], best[:, :1])

    def _kept(self, labels: tuple[int, ...]) -> Tensor:
        if labels not in self._sets:
            self._sets[labels] = self.vectors_for(labels)
            if len(self._sets) > _SETS_KEPT:
                self._sets.popitem(last=False)
        return self._sets[labels]


class FuddHead(LocalHead):
    """Follow-up differential descriptions: what tells each pair of the best k apart (Esfandiarpoor & Bach 2024).

    Options: ``differences``, {"a||b": {"a": ["text", …], "b": [...]}, …} or the published {"0_3": {"classes": [0, 3],
    "prompt_pairs": [{"prompt_pair": ["text", "text"]}, …]}, …} with positions in the vocabulary; ``k`` (10), ``margin``
    (1: every image gets the second look); others as ``zero_shot``. A pair without texts is told apart by the plain
    prompts.
    """

    OPTIONS = LocalHead.OPTIONS | {"differences"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "differences")
        differences(spec)
        return spec

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        found, _ = differences(spec)
        return {
            "labels": build_bank(spec.vocabulary, spec.templates, encoder, cache_dir=cache_dir),
            "texts": text_bank(found.unique, encoder, cache_dir=cache_dir),
        }

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        super().__init__(spec, banks, scale=scale, bias=bias)
        self._ragged, self._sides = differences(spec)

    def vectors_for(self, labels: tuple[int, ...]) -> Tensor:
        import torch

        from curator.kernels.vectors import l2_normalize

        classes = []
        for label in labels:
            rows: dict[int, None] = {}
            for other in labels:
                side = self._sides.get((label, other), label) if other != label else None
                rows.update(dict.fromkeys(self._ragged.lists[side] if side is not None else ()))
            classes.append(self._texts[list(rows)].mean(dim=0) if rows else self._vectors[label].float())
        return l2_normalize(torch.stack(classes))


def differences(spec: LabelSetSpec) -> tuple[Ragged, dict[tuple[int, int], int]]:
    """Texts, and which list of them is of label i against label j. List i < C is label i's plain prompts."""
    lists: list[tuple[str, ...]] = [prompts_of(label, spec.templates) for label in spec.vocabulary.labels]
    sides: dict[tuple[int, int], int] = {}
    rows = label_rows(spec.vocabulary)
    for key, value in table(spec, "differences").items():
        what = f"differences of {key!r}"
        if not isinstance(value, Mapping):
            raise fault(spec, f"{what} must be a table of the texts of its two labels")
        if "classes" in value:
            first, second, own, other = _published(spec, what, value)
        else:
            names = key.split("||")
            if len(names) != 2 or set(names) != set(value):
                raise fault(spec, f"{what} must be written 'a||b': {{'a': [...], 'b': [...]}}")
            if any(plain(name) not in rows for name in names):
                continue  # a file may cover more labels than the vocabulary
            first, second = label_row(spec, what, names[0]), label_row(spec, what, names[1])
            own, other = phrases(spec, what, value[names[0]]), phrases(spec, what, value[names[1]])
        for pair, side in (((first, second), own), ((second, first), other)):
            if side and pair[0] != pair[1]:
                sides[pair] = len(lists)
                lists.append(side)
    return ragged(lists), sides


def _published(
    spec: LabelSetSpec, what: str, value: Mapping[str, Any]
) -> tuple[int, int, tuple[str, ...], tuple[str, ...]]:
    try:
        first, second = value["classes"]
        pairs = [pair["prompt_pair"] for pair in value["prompt_pairs"]]
        own, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise fault(spec, f"{what} is not of the published form ({error})") from error
    for position in (first, second):
        if not isinstance(position, int) or not 0 <= position < len(spec.vocabulary):
            raise fault(spec, f"{what} names class {position!r} of a vocabulary of {len(spec.vocabulary)} labels")
    return first, second, phrases(spec, what, own), phrases(spec, what, other)


class DisclipHead(LocalHead):
    """Descriptions that tell the best k labels apart, chosen on a small labelled sample (DisCLIP, Ma et al. 2025).

    Options: ``descriptions`` as for dclip, whose texts of all labels are one pool; ``prototypes``, the file of mean
    image embeddings by label that ``curator prompts prototypes`` writes; ``k`` (3), ``m`` (5) descriptions a label;
    ``name_weight`` (1) of the label's own prompts beside their mean; ``pattern`` of the descriptions; ``margin``.
    """

    OPTIONS = LocalHead.OPTIONS | {"descriptions", "prototypes", "m", "name_weight", "pattern"}
    _K = 3

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        spec = with_contents(spec, storage, "descriptions", "prototypes")
        pool(spec)
        prototypes(spec)
        return spec

    @classmethod
    def prepare(cls, spec: LabelSetSpec, encoder: TextEncoder, cache_dir: str | Path | None) -> Mapping[str, TextBank]:
        rows = prototypes(spec)
        made_by = table(spec, "prototypes").get("encoder_digest")
        if made_by not in (None, encoder.digest) or any(len(row) != encoder.dim for row in rows):
            raise fault(spec, "prototypes were made with another encoder; make them from a run of this one")
        return {
            "labels": build_bank(spec.vocabulary, spec.templates, encoder, cache_dir=cache_dir),
            "texts": text_bank(pool(spec), encoder, cache_dir=cache_dir),
        }

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        import torch

        super().__init__(spec, banks, scale=scale, bias=bias)
        self._prototypes = torch.tensor(prototypes(spec))
        self._m = whole(spec, "m", 5, low=1)
        self._name_weight = number(spec, "name_weight", 1.0, low=0.0)

    def vectors_for(self, labels: tuple[int, ...]) -> Tensor:
        import torch

        from curator.kernels.descriptions import discriminative

        if self._prototypes.device != self._texts.device:
            self._prototypes = self._prototypes.to(self._texts.device)
        names = self._vectors[list(labels)].float()
        chosen = discriminative(self._prototypes[list(labels)] @ self._texts.T, self._m)
        means = [self._texts[rows].mean(dim=0) if len(rows) else name for rows, name in zip(chosen, names, strict=True)]
        return (self._name_weight * names + torch.stack(means)) / (self._name_weight + 1)


def pool(spec: LabelSetSpec) -> tuple[str, ...]:
    """The different descriptions of all labels, as prompts that name none."""
    from curator.kernels.descriptions import descriptor_sentence

    prompt = pattern(spec, "pattern", "an object {description}.", "{description}")
    own = (descriptor_sentence(each) for each_label in descriptors(spec) for each in each_label)
    found = tuple(dict.fromkeys(prompt.replace("{description}", each) for each in own))
    if not found:
        raise fault(spec, "descriptions hold no text")
    return found


def prototypes(spec: LabelSetSpec) -> list[list[float]]:
    """Every label's mean image embedding. ConfigError for a label without one: nothing could be chosen for it."""
    stated = table(spec, "prototypes").get("prototypes")
    if not isinstance(stated, Mapping):
        raise fault(spec, "prototypes has no table 'prototypes'; make the file with curator prompts prototypes")
    missing = [label.id for label in spec.vocabulary.labels if label.id not in stated]
    if missing:
        raise fault(spec, f"prototypes has none for {missing[0]!r}: the labelled sample needs images of every label")
    return [[float(value) for value in stated[label_id]] for label_id in spec.vocabulary.ids]
