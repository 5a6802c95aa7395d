"""The command ``curator bench``: measures on the user's own shards or on generated ones, and shows the result."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli.app import AsJson, ConfigPath, Inputs, Overrides, app, console, errors, load

if TYPE_CHECKING:
    from curator.bench.run import BenchReport


@app.command()
def bench(
    config: ConfigPath = None,
    overrides: Overrides = None,
    inputs: Inputs = None,
    vocabulary: Annotated[str | None, typer.Option("--vocabulary", help="Labels, as for `curator label`")] = None,
    generate: Annotated[int, typer.Option(help="Without --input: generate so many 512x384 JPEGs")] = 1000,
    images: Annotated[int, typer.Option(help="Images for the stages alone")] = 256,
    as_json: AsJson = False,
) -> None:
    """Measure every stage alone and the whole job; show the roofline, the ratio reached, and what starves it."""
    from curator.api import with_vocabulary
    from curator.bench.generate import generate_shards
    from curator.bench.run import run_bench
    from curator.demo import HERE

    with tempfile.TemporaryDirectory(prefix="curator-bench-") as folder:
        settings = load(config, overrides, inputs, folder)
        if not settings.input.urls:
            errors.print(f"generating {generate} images", highlight=False)
            settings = load(config, overrides, [str(generate_shards(Path(folder) / "shards", generate))], folder)
        if vocabulary or not settings.labels:
            settings = with_vocabulary(settings, vocabulary or str(HERE / "vocabulary.txt"))
        report = run_bench(settings, images=images, say=lambda text: errors.print(text, highlight=False))
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        _show(report)


def _show(report: BenchReport) -> None:
    from curator.console import rows_table, size_text

    rows = [
        (
            rate.stage,
            f"{rate.per_s:,.0f} {rate.unit}",
            f"{1e3 * rate.core_s:.2f} ms" if rate.core_s else "on the device",
        )
        for rate in report.stages
    ]
    console.print(rows_table("Stages alone", ["stage", "rate", "core time an image"], rows))
    pipeline = report.pipeline
    console.print(
        f"read {report.read_mb_per_s:,.0f} MB/s\n"
        f"roofline {report.roofline_per_s:,.0f} images/s on {report.machine['cores']} cores; "
        f"the whole job {pipeline.rows_per_s:,.0f} rows/s: [bold]{report.ratio:.2f}[/] of it, "
        f"starved by {report.starved_by}\n"
        f"ready after {pipeline.startup_s:.1f} s, first shard after {pipeline.first_shard_s:.1f} s, "
        f"peak memory {size_text(pipeline.peak_rss_bytes)}",
        highlight=False,
    )
    modes = [
        (
            each.mode,
            each.images,
            f"{each.mean_cosine:.5f}",
            f"{each.first_percentile_cosine:.5f}",
            f"{each.label_flips:.2%}",
        )
        for each in report.fidelity
    ]
    console.print(
        rows_table("Decode modes against exact", ["mode", "images", "mean cosine", "1st percentile", "flipped"], modes)
    )
