"""Owns the head that answers with the Fréchet mean of the prediction in a metric over the labels (Loki)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from curator.data import ColumnSpec, TextBank
from curator.labels.heads.base import LabelSetSpec
from curator.labels.heads.by_label import label_row, with_contents
from curator.labels.heads.dense import DenseHead, Scored
from curator.labels.heads.trees import tree_for
from curator.labels.heads.zero_shot import ZeroShotHead
from curator.options import fault, wrong
from curator.storage.base import Storage

if TYPE_CHECKING:
    from torch import Tensor

_MOST_LABELS = 20_000


class LokiHead(DenseHead):
    """argmin_y sum_j p_j d(j, y)^2 for the argmax, in ``NAME_loki``; ``NAME`` stays plain (Roberts et al. 2023).

    Options: ``metric`` self (Euclidean, of the class embeddings; the default) | tree (edges of ``tree``, default the
    vocabulary's parents) | a JSON file {"distances": [[…], …]} in the order of the vocabulary; ``scored``, a JSON list
    of the labels that get a probability (all), so that few are scored and any may be the answer. Scores of
    ``NAME_loki`` are minus the expected squared distance. Others as ``zero_shot``.
    """

    OPTIONS = ZeroShotHead.OPTIONS | {"metric", "tree", "scored"}

    @classmethod
    def read(cls, spec: LabelSetSpec, storage: Storage) -> LabelSetSpec:
        named = spec.options.get("metric", "self") in ("self", "tree")
        spec = with_contents(spec, storage, *(() if named else ("metric",)), "tree", "scored", required=False)
        anchors(spec)
        squared_distances(spec)
        return spec

    @classmethod
    def columns_of(cls, spec: LabelSetSpec) -> tuple[ColumnSpec, ...]:
        loki = ColumnSpec(
            f"{spec.name}_loki", "labels", "Labels by expected squared distance (its negative is the score)"
        )
        return (*super().columns_of(spec), loki)

    def __init__(self, spec: LabelSetSpec, banks: Mapping[str, TextBank], *, scale: float, bias: float | None) -> None:
        import torch

        super().__init__(spec, banks, scale=scale, bias=bias)
        self._anchors = torch.tensor(anchors(spec))
        squared = squared_distances(spec)
        self._squared = None if squared is None else squared[self._anchors]

    def score(self, vectors: Tensor) -> Scored:
        from curator.kernels.hierarchy import expected_euclidean, expected_squared_distance

        if self._vectors.device != vectors.device:
            self._vectors, self._anchors = self._vectors.to(vectors.device), self._anchors.to(vectors.device)
            self._squared = None if self._squared is None else self._squared.to(vectors.device)
        among = self.probabilities((vectors.to(self._vectors.dtype) @ self._vectors[self._anchors].T).float())
        every = among.new_zeros(len(among), len(self._bank.names))
        every[:, self._anchors] = among
        weights = among / among.sum(dim=1, keepdim=True).clamp_min(1e-30)  # a sigmoid's do not sum to one
        if self._squared is None:
            expected = expected_euclidean(weights, self._vectors[self._anchors], self._vectors)
        else:
            expected = expected_squared_distance(weights, self._squared)
        return Scored(every, {f"{self.name}_loki": self.ranked(self._bank, -expected)})


def anchors(spec: LabelSetSpec) -> list[int]:
    """Positions of the labels that are scored, in the vocabulary's order."""
    stated = spec.options.get("scored")
    if stated is None:
        return list(range(len(spec.vocabulary)))
    if isinstance(stated, str) or not isinstance(stated, Sequence) or not stated:
        raise wrong(spec, "scored", "a list of at least one label")
    return sorted({label_row(spec, "scored", name) for name in stated})


def squared_distances(spec: LabelSetSpec) -> Tensor | None:
    """d(j, y)^2 float32 [C, C]; None for the metric of the embeddings themselves."""
    import torch

    from curator.kernels.hierarchy import tree_distances

    metric, count = spec.options.get("metric", "self"), len(spec.vocabulary)
    if metric == "self":
        return None
    if count > _MOST_LABELS:
        raise fault(
            spec, f"a metric over {count} labels is a table of {count}^2; use metric self, or {_MOST_LABELS} labels"
        )
    if metric == "tree":
        return tree_distances(tree_for(spec).padded(from_root=True)).square()
    try:
        distances = torch.tensor(metric["distances"], dtype=torch.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise fault(spec, f"metric must be self, tree, or a file {{'distances': [[...], ...]}} ({error})") from error
    if distances.shape != (count, count) or bool((distances < 0).any()) or not bool(torch.isfinite(distances).all()):
        raise fault(spec, f"metric must hold {count} x {count} distances of at least 0, not {tuple(distances.shape)}")
    return distances.square()
