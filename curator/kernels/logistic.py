"""Owns the fit of a logistic regression and two measures of it. Arrays only; knows no run and no file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fit_logistic(x: Array, y: Array, l2: float, *, steps: int = 100) -> tuple[Array, float]:
    """Weights [D] and bias of the logistic regression of ``y`` (0 or 1) [N] on ``x`` [N, D], by Newton's method.

    Minimises the mean of -log p(y | x) over both classes alike (each row weighs 1 / (2 * rows of its class)) plus
    l2 / 2 * |w|^2. Convex, so that the result depends on nothing but the input. ValueError where a class is empty or
    ``l2`` not positive.
    """
    if l2 <= 0:
        raise ValueError(f"l2 is {l2}; it must be positive, or separable classes have no finite solution")
    share = np.where(y == 1, y.sum(), (1 - y).sum())
    if not y.sum() or not (1 - y).sum():
        raise ValueError("a class has no rows")
    weight = 0.5 / share
    rows = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.append(np.full(x.shape[1], l2), 0.0)
    solution = np.zeros(rows.shape[1])
    loss = _loss(rows, y, weight, penalty, solution)
    for _ in range(steps):
        p = _sigmoid(rows @ solution)
        gradient = rows.T @ (weight * (p - y)) + penalty * solution
        curvature = (rows * (weight * p * (1 - p))[:, None]).T @ rows + np.diag(penalty + 1e-12)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while _loss(rows, y, weight, penalty, solution - size * step) > loss and size > 1e-6:
            size /= 2
        solution = solution - size * step
        before, loss = loss, _loss(rows, y, weight, penalty, solution)
        if before - loss < 1e-12:
            break
    return solution[:-1], float(solution[-1])


def _sigmoid(z: Array) -> Array:
    p: Array = 0.5 * (1 + np.tanh(0.5 * z))
    return p


def _loss(rows: Array, y: Array, weight: Array, penalty: Array, solution: Array) -> float:
    z = rows @ solution
    return float((weight * (np.logaddexp(0, z) - y * z)).sum() + 0.5 * (penalty * solution**2).sum())


def balanced_accuracy(scores: Array, y: Array, threshold: float = 0.5) -> float:
    """Mean of the shares of positives at or above the threshold and of negatives below it."""
    return float(((scores[y == 1] >= threshold).mean() + (scores[y == 0] < threshold).mean()) / 2)


def area_under_roc(scores: Array, y: Array) -> float:
    """Chance that a positive scores higher than a negative, ties counted half (Mann-Whitney)."""
    values, ranks = np.unique(scores, return_inverse=True)
    counts = np.bincount(ranks, minlength=len(values))
    middle = np.cumsum(counts) - (counts - 1) / 2
    positives = int(y.sum())
    above = middle[ranks][y == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(y) - positives)))
