"""The command that says what a run would do and, from a sample, what it would cost. It leaves the output alone."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curator import logs
from curator.cli.app import (
    AsJson,
    Backend,
    ConfigPath,
    Entities,
    Free,
    Inputs,
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
    with_descriptions,
)

if TYPE_CHECKING:
    from curator.config import Config
    from curator.engine.estimate import Forecast
    from curator.engine.preview import Preview


@app.command()
def plan(
    shards: Shards = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    inputs: Inputs = None,
    output: Output = None,
    run: Annotated[str | None, typer.Option(help="Plan to relabel this run, instead of labelling shards")] = None,
    vocabulary: VocabularyFile = None,
    top_k: TopK = None,
    free: Free = None,
    entities: Entities = None,
    score: Score = None,
    backend: Backend = None,
    salvage: Salvage = None,
    since: Since = None,
    max_shards: MaxShards = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Label a sample; say images, bytes and hours")] = False,
    sample: Annotated[int, typer.Option(min=1, help="Shards of the sample")] = 12,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of the fleet; as the config says")] = None,
    price_worker_hour: Annotated[float | None, typer.Option(min=0.0, help="What a worker costs in an hour")] = None,
    price_stored_gib: Annotated[float | None, typer.Option(min=0.0, help="What a GiB of the output costs")] = None,
    scratch: Annotated[
        str | None, typer.Option(help="Where the sample's rows go for a while; this process's memory")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do: shards, bytes, done and remaining. Takes the options of label; changes nothing."""
    from curator.console import show_forecast, show_plan
    from curator.curation.relabel import preview_run

    settings = load(
        config, overrides, [*(inputs or ()), *(shards or ())], output,
        input={"run": run, "salvage": salvage, "since": since, "max_shards": max_shards}, run={"backend": backend},
    )  # fmt: skip
    settings = with_descriptions(settings, vocabulary, top_k, free, entities, score)
    found = preview_run(settings)
    prices = {"worker_hour": price_worker_hour, "stored_gib": price_stored_gib}
    forecast = _estimate(settings, found, sample, workers, prices, scratch) if estimate else None
    if as_json:
        typer.echo(json.dumps(_described(found) | ({"estimate": forecast.to_dict()} if forecast else {})))
        return
    show_plan(console, found.plan)
    for name in ("changed", "vanished", "quarantined"):
        for url in getattr(found, name)[:10]:
            console.print(f"{name}: {url}", highlight=False, markup=False)
    if found.refused:
        console.print(f"a run with these settings would be refused: {found.refused}", highlight=False, markup=False)
    if forecast:
        show_forecast(console, forecast)


def _described(found: Preview) -> dict[str, Any]:
    return {
        "todo": [{"url": shard.url, "size": shard.size} for shard in found.plan.todo],
        "done": found.plan.done,
        "quarantined": list(found.quarantined),
        "changed": list(found.changed),
        "vanished": list(found.vanished),
        "refused": found.refused,
    }


def _estimate(
    settings: Config,
    found: Preview,
    sample: int,
    workers: int | None,
    prices: dict[str, float | None],
    scratch: str | None,
) -> Forecast:
    from curator.console import LogDisplay, RunDisplay
    from curator.engine.compose import storage_of
    from curator.engine.estimate import Prices
    from curator.engine.estimate import estimate as start

    as_log = logs.current().format == "json"
    printed = logs.Printed() if as_log else sys.stderr
    with redirect_stdout(printed), LogDisplay() if as_log else RunDisplay(errors) as display:
        return start(
            settings,
            found.plan.todo,
            storage_of(settings),
            sample=sample,
            workers=workers,
            prices=Prices(**prices),
            scratch=scratch,
            observe=display,
        )
