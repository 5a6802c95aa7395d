"""Reading metrics as Prometheus does: a scrape's samples as a mapping from name and labels to value."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


def scrape(port: int, labels: tuple[str, ...], prefix: str = "curator_") -> dict[tuple[str, ...], float]:
    """(name, value of each of ``labels`` that it has …) -> value, of the metrics whose name begins with ``prefix``."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name.startswith(prefix) else ():
            key = (sample.name, *(sample.labels[label] for label in labels if label in sample.labels))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def expected(totals: Any, output: str) -> dict[tuple[str, ...], float]:
    """What the counters must say after a run with these totals over its receipts (``Totals.to_dict()``)."""
    values: dict[tuple[str, ...], float] = {
        ("curator_rows_total", output, "ok"): totals["rows"] - totals["rejected"],
        ("curator_rows_total", output, "rejected"): totals["rejected"],
        ("curator_read_bytes_total", output): totals["read_bytes"],
        ("curator_written_bytes_total", output): totals["part_bytes"],
        ("curator_shards_total", output, "done"): totals["shards"],
        ("curator_images_total", output): totals["rows"],
    }
    values |= {("curator_rejects_total", output, reason): count for reason, count in totals["reasons"].items()}
    values |= {("curator_stage_seconds_total", output, stage): total for stage, total in totals["seconds"].items()}
    return values
