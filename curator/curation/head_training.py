"""Makes a score head of a run: a logistic regression on its stored embeddings, and what it is worth on rows held out.

Owns which rows teach and which test; knows no image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.engine.wait import warn_unless_ended
from curator.errors import ConfigError
from curator.evaluation.truth import Truth, read_truth
from curator.kernels.logistic import area_under_roc, balanced_accuracy, fit_logistic
from curator.kernels.score_heads import Layer, ScoreModel
from curator.scores.head_files import HeadFile
from curator.storage import Storage
from curator.tables.readers import first_part, scan, vectors

L2S = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_TEST, _VALIDATE = 0.2, 0.2


@dataclass(frozen=True)
class Taught:
    """Rows with a known answer: unit vectors [N, D], 1 for positive, and a number in [0, 1) per group of rows."""

    vectors: NDArray[np.float64]
    positive: NDArray[np.float64]
    draw: NDArray[np.float64]
    groups: int

    def chosen(self, rows: NDArray[np.bool_]) -> Taught:
        return replace(self, vectors=self.vectors[rows], positive=self.positive[rows], draw=self.draw[rows])


def train_head(
    run: str, storage: Storage, *, labels: str, positive: str, group: str | None = None, max_rows: int = 1_000_000
) -> HeadFile:
    """A head that gives the probability of ``positive``, bound to the run's encoder; its card has the measures.

    ``labels`` is where the truth stands (``json.FIELD``, ``caption`` or a CSV of sample_id or key and label); rows
    without one are left out, any other label is a negative. Rows that share a ``group`` (named likewise; default: each
    row its own) are all taught or all held out: a fifth of the groups tests, a fifth of the others chooses the penalty,
    and the head is then fitted to all but the test. The same run gives the same head. ConfigError where a class lacks
    rows, or the run embeddings.
    """
    truth, grouping = read_truth(labels, "--labels"), read_truth(group, "--group") if group else None
    taught = _read(run, storage, truth, positive, grouping, max_rows)
    test = taught.draw < _TEST
    inner = (taught.draw - _TEST) / (1 - _TEST)
    _require_both(taught.chosen(test), f"{run}: the rows held out")
    learn, validate = taught.chosen(~test & (inner >= _VALIDATE)), taught.chosen(~test & (inner < _VALIDATE))
    _require_both(learn, f"{run}: the rows to learn from")
    _require_both(validate, f"{run}: the rows to choose the penalty by")
    losses = {l2: _log_loss(_fit(learn, l2), validate) for l2 in L2S}
    l2 = min(losses, key=lambda each: losses[each])
    weight, bias = _fit(taught.chosen(~test), l2)
    scores = _probabilities((weight, bias), taught.chosen(test))
    answers = taught.positive[test]
    card = {
        "method": "logistic regression on unit embeddings, classes weighed alike",
        "labels": labels,
        "positive": positive,
        "group": group or "",
        "l2": l2,
        "rows": {"taught": int((~test).sum()), "held_out": int(test.sum()), "positive": int(taught.positive.sum())},
        "groups": taught.groups,
        "held_out": {
            "accuracy": round(float(((scores >= 0.5) == answers).mean()), 4),
            "balanced_accuracy": round(balanced_accuracy(scores, answers), 4),
            "auc": round(area_under_roc(scores, answers), 4),
        },
    }
    with first_part(run, storage) as part:
        footer = part.footer
    layer = Layer(torch.tensor(weight[None]).float(), torch.tensor([bias]).float())
    columns = {"": (0, f"Probability of {positive!r} (logistic head)")}
    return HeadFile(ScoreModel((layer,), "sigmoid"), columns, footer["encoder_digest"], footer.get("encoder", ""), card)


def _read(run: str, storage: Storage, truth: Truth, positive: str, group: Truth | None, max_rows: int) -> Taught:
    warn_unless_ended(run, storage)
    stacked: list[NDArray[np.float64]] = []
    answers: list[bool] = []
    groups: list[str] = []
    for batch in scan(run, storage, ["sample_id", "key", "caption", "metadata", "embedding"], only_ok=True):
        known = []
        for row, identity in enumerate(_identities(batch)):
            labels = truth(*identity)
            if labels is None or len(answers) >= max_rows:
                continue
            known.append(row)
            answers.append(positive in labels)
            of = group(*identity) if group else None
            groups.append(json.dumps(of) if of else str(identity[0]))
        if known:
            found = vectors(batch)[known].astype(np.float64)
            stacked.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    if not stacked:
        raise ConfigError(f"{run}: no row has a label; see --labels")
    draws = {each: int(hashlib.sha256(each.encode()).hexdigest()[:13], 16) / 16**13 for each in set(groups)}
    draw = np.array([draws[each] for each in groups])
    taught = Taught(np.concatenate(stacked), np.array(answers, np.float64), draw, len(draws))
    _require_both(taught, run)
    return taught


def _identities(batch: Any) -> Iterator[tuple[str, str, str | None, bytes | None]]:
    columns = [batch.column(name).to_pylist() for name in ("sample_id", "key", "caption", "metadata")]
    return zip(*columns, strict=True)


def _require_both(taught: Taught, what: str) -> None:
    positives = int(taught.positive.sum())
    if not 0 < positives < len(taught.positive):
        raise ConfigError(f"{what}: {positives} of {len(taught.positive)} are positive; both kinds are needed")


def _fit(taught: Taught, l2: float) -> tuple[NDArray[np.float64], float]:
    return fit_logistic(taught.vectors, taught.positive, l2)


def _probabilities(head: tuple[NDArray[np.float64], float], taught: Taught) -> NDArray[np.float64]:
    weight, bias = head
    p: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * (taught.vectors @ weight + bias)))
    return p


def _log_loss(head: tuple[NDArray[np.float64], float], taught: Taught) -> float:
    p = np.clip(_probabilities(head, taught), 1e-12, 1 - 1e-12)
    losses = -np.where(taught.positive == 1, np.log(p), np.log(1 - p))
    return float((losses[taught.positive == 1].mean() + losses[taught.positive == 0].mean()) / 2)
