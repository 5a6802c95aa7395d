"""Owns how a report looks: one HTML page that needs nothing else, its charts as SVG. Knows no file and no measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #8b949e; --line: #d0d7de; --bar: #2f6fdb; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --faint: #8b949e; --line: #30363d; --bar: #6ea8fe; --paper: #0d1117; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .text { text-align: left; }
.faint { color: var(--faint); } .charts { display: flex; flex-wrap: wrap; gap: 2rem; }
figure { margin: 0; } figcaption { color: var(--faint); max-width: 22rem; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.scroll { max-height: 30rem; overflow: auto; }
"""
_SIZE, _LEFT, _TOP = 260, 40, 10
NAMES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "macro": "Macro (mean recall over labels)",
    "map": "mAP over the stored labels",
    "f1": "Micro F1 of the labels kept",
    "ece": "ECE of the best score",
    "cluster_accuracy": "Cluster accuracy",
    "semantic_iou": "Semantic IoU",
    "semantic_similarity": "Semantic similarity",
}


def render(report: Mapping[str, Any], *, title: str) -> str:
    """The page of a report of ``evaluate``, with the ablation where there is one."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{report['rows']} rows with a known truth, {report['labels']} true labels, "
        f"{report['stored_per_row']} labels stored per row. "
        f"<span class=faint>Left out: {_left_out(report['left_out'])}.</span></p>",
        _measures(report["measures"]),
        "<div class=charts>",
        _figure(reliability_chart(report["reliability"]), "Accuracy by confidence; a calibrated score is on the line."),
        _figure(risk_chart(report["selective"]), _caption(report["selective"])),
        "</div>",
    ]
    if report.get("ablation"):
        parts += ["<h2>Do descriptions help?</h2>", comparison(report["ablation"])]
    if report.get("confusions"):
        parts += ["<h2>Labels taken for others</h2>", _table(report["confusions"], {"true": True, "given": True})]
    parts += ["<h2>Labels</h2>", f"<div class=scroll>{_table(report['per_label'], {'label': True})}</div>"]
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def interval(value: Mapping[str, float | None], *, percent: bool = True) -> str:
    """``81.2 (79.0 to 83.3)``: a value with its interval."""
    factor, digits = (100, 1) if percent else (1, 3)
    if value["value"] is None:
        return "none"
    middle, low, high = (f"{factor * (value[end] or 0.0):.{digits}f}" for end in ("value", "low", "high"))
    return middle if value["low"] is None else f"{middle} ({low} to {high})"


def comparison(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of several heads' measures."""
    names = [name for name in NAMES if any(name in row["measures"] for row in rows)]
    head = "".join(f"<th>{escape(NAMES[name])}" for name in names)
    body = "".join(
        f"<tr><td>{escape(row['name'])}" + "".join(f"<td>{interval(row['measures'][name])}" for name in names)
        for row in rows
    )
    return f"<table><tr><th>label set{head}{body}</table>"


def reliability_chart(bins: Sequence[Mapping[str, float]]) -> str:
    """Accuracy by confidence as bars over the diagonal."""
    total = sum(each["rows"] for each in bins) or 1
    shapes = [_line([(0, 0), (1, 1)], "var(--faint)", dashed=True)]
    for each in bins:
        if each["rows"]:
            (x, y), (right, floor) = _at(each["low"], each["accuracy"]), _at(each["high"], 0)
            opacity = 0.25 + 0.75 * math.sqrt(each["rows"] / total)
            shapes.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{right - x - 1:.1f}" height="{floor - y:.1f}" '
                f'fill="var(--bar)" fill-opacity="{opacity:.2f}"><title>{each["rows"]:.0f} rows, confidence '
                f"{each['confidence']:.3f}, accuracy {each['accuracy']:.3f}</title></rect>"
            )
    return _chart("".join(shapes), "confidence", "accuracy")


def risk_chart(selective: Mapping[str, Any]) -> str:
    """Error rate by the share of rows kept, for each score that could decide; a dot where the run stands."""
    shapes = []
    for number, curve in enumerate(selective["curves"].values()):
        points = list(zip(curve["coverage"], curve["risk"], strict=True))
        shapes.append(_line(points, "var(--bar)" if number == 0 else "var(--faint)", dashed=number > 0))
    if selective["risk"] is not None:
        x, y = _at(selective["coverage"], selective["risk"])
        shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--ink)"/>')
    return _chart("".join(shapes), "coverage", "error rate")


def _caption(selective: Mapping[str, Any]) -> str:
    words = f"Error rate among the rows kept, the surest first. The run keeps {100 * selective['coverage']:.1f} %"
    words += "." if selective["risk"] is None else f" and errs in {100 * selective['risk']:.1f} % of them."
    areas = ", ".join(f"{name} {curve['aurc']:.4f}" for name, curve in selective["curves"].items())
    return f"{words} Area under the curve: {areas}" + (" (dashed: NAME_ood)." if len(selective["curves"]) > 1 else ".")


def _at(x: float, y: float) -> tuple[float, float]:
    return _LEFT + x * _SIZE, _TOP + (1 - y) * _SIZE


def _line(points: Sequence[tuple[float, float]], color: str, *, dashed: bool = False) -> str:
    places = " ".join("{:.1f},{:.1f}".format(*_at(x, y)) for x, y in points)
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="1.5"{dash}/>'


def _chart(shapes: str, across: str, up: str) -> str:
    ticks = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        x, y = _at(value, value)
        bottom, left = _TOP + _SIZE, _LEFT
        ticks.append(f'<text x="{x:.0f}" y="{bottom + 15}" text-anchor="middle">{value:g}</text>')
        ticks.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{value:g}</text>')
        ticks.append(f'<line x1="{left}" x2="{left + _SIZE}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
    middle = _LEFT + _SIZE / 2
    labels = f'<text x="{middle}" y="{_TOP + _SIZE + 32}" text-anchor="middle">{across}</text>'
    return (
        f'<svg role="img" aria-label="{up} by {across}" width="{_LEFT + _SIZE + 20}" height="{_TOP + _SIZE + 40}">'
        f"{''.join(ticks)}{labels}{shapes}</svg>"
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _measures(measures: Mapping[str, Mapping[str, float | None]]) -> str:
    rows = "".join(f"<tr><td>{escape(NAMES[name])}<td>{interval(value)}" for name, value in measures.items())
    return f"<table><tr><th>measure<th>% (95 % interval){rows}</table>"


def _left_out(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {escape(reason)}" for reason, count in counts.items() if count) or "none"


def _table(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, bool]) -> str:
    if not rows:
        return "<p class=faint>none</p>"
    head = "".join(f"<th{' class=text' if name in texts else ''}>{escape(name)}" for name in rows[0])
    body = "".join("<tr>" + "".join(_cell(value) for value in row.values()) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f"<td class=text>{escape(value)}"
    return f"<td>{value:.3f}" if isinstance(value, float) else f"<td>{value}"
