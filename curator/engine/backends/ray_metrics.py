"""A run's numbers in Ray's own metrics, which each node's agent exports as ``ray_curator_…``. Knows no run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from curator.engine.metrics import METRICS, Metric


class RayMetrics:
    """A sink for a process that is connected to Ray."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {metric.name: _make(metric) for metric in METRICS}

    def add(self, metric: Metric, labels: Sequence[str], amount: float) -> None:
        if amount > 0:  # Ray refuses to add nothing
            self._made[metric.name].inc(amount, dict(zip(metric.all_labels, labels, strict=True)))

    def set(self, metric: Metric, labels: Sequence[str], value: float) -> None:
        self._made[metric.name].set(value, dict(zip(metric.all_labels, labels, strict=True)))

    def observe(self, metric: Metric, labels: Sequence[str], value: float) -> None:
        self._made[metric.name].observe(value, dict(zip(metric.all_labels, labels, strict=True)))


def _make(metric: Metric) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, tag_keys=metric.all_labels)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, tag_keys=metric.all_labels)
    return Histogram(metric.name, metric.help, boundaries=list(metric.buckets), tag_keys=metric.all_labels)
