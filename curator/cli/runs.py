"""Commands that do work: label, relabel, retry, demo. Each ends with the run's exit status."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from curator import logs
from curator.cli.app import (
    RUN,
    AsJson,
    Backend,
    ConfigPath,
    Entities,
    Free,
    Inputs,
    LogFormat,
    MaxShards,
    Output,
    Overrides,
    Salvage,
    Score,
    Shards,
    Since,
    TopK,
    VocabularyFile,
    app,
    console,
    errors,
    load,
    option,
    say,
    storage_from,
    with_descriptions,
)

if TYPE_CHECKING:
    from curator.config import Config
    from curator.engine.progress import Progress, Summary

MetricsPort = Annotated[
    int | None,
    option(
        "--metrics-port",
        panel=RUN,
        envvar="CURATOR_METRICS_PORT",
        help="Answer GET /metrics at this port of 127.0.0.1, for Prometheus",
    ),
]
MaxSeconds = Annotated[float | None, option("--max-seconds", panel=RUN, help="Stop cleanly after this time; resumable")]
RunId = Annotated[
    str | None,
    option(
        "--run-id",
        panel=RUN,
        help="Name of this run, e.g. the date: once it is completed, starting it does nothing",
    ),
]
Prune = Annotated[bool | None, option("--prune", panel=RUN, help="Remove rows of shards that the input lost")]


@contextmanager
def signals() -> Iterator[tuple[threading.Event, Callable[[], int | None]]]:
    """The first SIGINT or SIGTERM asks the run to stop, the second ends it at once. Gives (event, exit status)."""
    stop, caught = threading.Event(), []

    def handle(number: int, _: object) -> None:
        caught.append(number)
        stop.set()
        if len(caught) > 1:
            say("stopping at once; run the same command again to resume")
            raise KeyboardInterrupt
        say("stopping after the shards under way; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, lambda: 128 + caught[0] if caught else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_shown(
    start: Callable[[Callable[[Progress], None], threading.Event], Summary], output: str, *, as_json: bool
) -> Summary:
    """Start a run, show it, print how it ended, and leave with its exit status unless that is 0."""
    from curator.console import LogDisplay, RunDisplay, show_summary

    logs.name_run(output)
    as_log = logs.current().format == "json"
    with signals() as (stop, signalled):
        printed = logs.Printed() if as_log else sys.stderr  # libraries print, too: Ray of dead workers
        with redirect_stdout(printed), LogDisplay() if as_log else RunDisplay(errors) as display:
            summary = start(display, stop)
        if as_json:
            typer.echo(json.dumps(summary.to_dict(), indent=1))
        else:
            show_summary(console, summary)
        status = signalled() if summary.status == "stopped" else None
    status = summary.exit_status if status is None else status
    if status:
        raise typer.Exit(status)
    return summary


@app.command(
    epilog="For example: curator label shards/ --output out --vocabulary labels.txt. A folder of images becomes shards "
    "with curator pack."
)
def label(
    shards: Shards = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    inputs: Inputs = None,
    output: Output = None,
    vocabulary: VocabularyFile = None,
    top_k: TopK = None,
    free: Free = None,
    entities: Entities = None,
    score: Score = None,
    backend: Backend = None,
    salvage: Salvage = None,
    since: Since = None,
    max_shards: MaxShards = None,
    prune: Prune = None,
    max_seconds: MaxSeconds = None,
    run_id: RunId = None,
    metrics_port: MetricsPort = None,
    as_json: AsJson = False,
    log_format: LogFormat = None,
) -> None:
    """Label shards: the main job. Run the same command again to resume; what is done is not done twice."""
    from curator.engine.run import label as start

    settings = load(
        config, overrides, [*(inputs or ()), *(shards or ())], output,
        input={"salvage": salvage, "since": since, "max_shards": max_shards},
        run={
            "backend": backend, "max_seconds": max_seconds, "prune": prune, "metrics_port": metrics_port, "id": run_id,
        },
    )  # fmt: skip
    settings = with_descriptions(settings, vocabulary, top_k, free, entities, score)
    if not (settings.labels or settings.free or settings.entities or settings.scores):
        say("curator: no labels are asked for (--vocabulary, --free, --entities, --score): rows hold embeddings alone")
    run_shown(lambda observe, stop: start(settings, observe=observe, stop=stop), settings.output.url, as_json=as_json)


@app.command()
def relabel(
    run: Annotated[str, typer.Argument(help="The output of the run whose embeddings are labelled again")],
    output: Output = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    vocabulary: VocabularyFile = None,
    top_k: TopK = None,
    free: Free = None,
    entities: Entities = None,
    score: Score = None,
    backend: Backend = None,
    max_seconds: MaxSeconds = None,
    run_id: RunId = None,
    metrics_port: MetricsPort = None,
    as_json: AsJson = False,
    log_format: LogFormat = None,
) -> None:
    """Label a run again from its stored embeddings, into another output: no image is read, rejects stay rejects."""
    from curator.curation.relabel import relabel as start

    settings = load(
        config, overrides, None, output,
        input={"run": run},
        run={"backend": backend, "max_seconds": max_seconds, "metrics_port": metrics_port, "id": run_id},
    )  # fmt: skip
    settings = with_descriptions(settings, vocabulary, top_k, free, entities, score)
    run_shown(lambda observe, stop: start(settings, observe=observe, stop=stop), settings.output.url, as_json=as_json)


@app.command()
def retry(
    output: Annotated[str, typer.Argument(help="The output of a run")],
    reason: Annotated[
        list[str] | None, typer.Option(help="Also redo shards with samples rejected for this reason; repeatable")
    ] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    log_format: LogFormat = None,
) -> None:
    """Try quarantined shards again, with the settings that the run was begun with."""
    from curator.curation.relabel import start_again
    from curator.engine.maintain import retry as start

    storage = storage_from(config, [each for each in overrides or () if each.startswith("storage.")])

    def change(settings: Config) -> Config:
        from curator.config import load_config

        return load_config(values=settings.model_dump(exclude_none=True), overrides=overrides or ())

    run_shown(
        lambda observe, stop: start(
            output, storage, reasons=reason or (), overrides=change, observe=observe, stop=stop, start=start_again
        ),
        output,
        as_json=as_json,
    )


@app.command()
def demo(
    output: Annotated[str, typer.Option("--output", "-o", help="Where the dataset goes")] = "curator-demo",
    log_format: LogFormat = None,
) -> None:
    """Label the embedded sample shards with the embedded encoder, and show what came out. Needs no network."""
    from curator.console import counts_table, seconds_table
    from curator.demo import FREE, demo_config
    from curator.engine.maintain import verify_output
    from curator.engine.run import label as start
    from curator.storage import open_storage
    from curator.tables.readers import count_values

    settings = demo_config(output)
    summary = run_shown(lambda observe, stop: start(settings, observe=observe, stop=stop), output, as_json=False)
    counts = count_values(output, open_storage())
    console.print(counts_table("Best label", "label", counts.top1["labels"]))
    for name, method in FREE.items():
        console.print(counts_table(f"Best label without a vocabulary ({method})", name, counts.top1[name], limit=8))
    console.print(counts_table("Rejects by reason", "reason", counts.reasons))
    console.print(seconds_table(summary.totals["seconds"]))
    problems = [problem for _, found in verify_output(output, open_storage()) for problem in found]
    for problem in problems:
        errors.print(problem, highlight=False)
    console.print(f"Every sample is accounted for: {counts.rows} rows in {output}/part-*.parquet", highlight=False)
    console.print(f"Read them: python -c \"import pandas; print(pandas.read_parquet('{output}'))\"", highlight=False)
    if problems:
        raise typer.Exit(1)
