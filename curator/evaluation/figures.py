"""Owns the drawings as PNG, for those who have matplotlib (the extra ``report``). Knows no measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.errors import ConfigError


def draw_report(report: Mapping[str, Any], path: Path) -> None:
    """The reliability diagram and the risk-coverage curves of a report. ConfigError without matplotlib."""
    figure, (left, right) = blank(2)
    bins = [each for each in report["reliability"] if each["rows"]]
    left.bar(
        [each["low"] for each in bins],
        [each["accuracy"] for each in bins],
        width=[each["high"] - each["low"] for each in bins],
        align="edge",
        edgecolor="white",
    )
    left.plot([0, 1], [0, 1], "--", color="gray")
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Reliability")
    for name, curve in report["selective"]["curves"].items():
        right.plot(curve["coverage"], curve["risk"], label=f"{name} (area {curve['aurc']:.4f})")
    if report["selective"]["risk"] is not None:
        right.plot(report["selective"]["coverage"], report["selective"]["risk"], "o", color="black", label="the run")
    right.set(xlabel="coverage", ylabel="error rate", xlim=(0, 1), ylim=(0, None), title="Risk by coverage")
    right.legend()
    _save(figure, path)


def draw_curve(points: Sequence[Mapping[str, float]], path: Path, *, first: str, second: str) -> None:
    """The accuracy of two groups of labels against each other, along the sweep of a bias."""
    figure, (axes,) = blank(1)
    axes.plot([each["first"] for each in points], [each["second"] for each in points], "-")
    best = max(points, key=lambda each: each["harmonic"])
    axes.plot(
        best["first"], best["second"], "o", label=f"bias {best['bias']:.4f}: harmonic mean {best['harmonic']:.3f}"
    )
    axes.set(xlabel=f"accuracy of {first}", ylabel=f"accuracy of {second}", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    _save(figure, path)


def blank(count: int, *, width: float = 5.0) -> tuple[Any, tuple[Any, ...]]:
    """A figure with ``count`` axes side by side, each ``width`` inches wide. ConfigError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("drawing a PNG needs matplotlib; install curator[report], or leave out the PNG") from error
    figure = Figure(figsize=(width * count, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, tuple(figure.add_subplot(1, count, place + 1) for place in range(count))


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="png", dpi=120)
