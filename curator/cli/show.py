"""Commands that only look: status, wait, verify, schema, encoders."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from curator.cli.app import (
    AsJson,
    ConfigPath,
    Entities,
    Free,
    Overrides,
    Score,
    TopK,
    VocabularyFile,
    app,
    console,
    load,
    say,
    storage_from,
    with_descriptions,
)


@app.command()
def status(
    output: Annotated[str, typer.Argument(help="The output of a run")],
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show where an output stands: totals, rejects by reason, quarantined shards. Reads the ledger only."""
    from curator.console import counts_table, seconds_table, show_quarantined
    from curator.engine.maintain import read_status

    found = read_status(output, storage_from(config, overrides))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
        return
    totals = found.totals
    of = f" of {found.summary['shards']['manifest']}" if found.summary is not None else ""
    console.print(
        f"{found.state}: {totals['shards']}{of} shards done, {totals['rows']} rows, {totals['rejected']} rejected",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    if totals["reasons"]:
        console.print(counts_table("Rejects by reason", "reason", totals["reasons"]))
    console.print(seconds_table(totals["seconds"]))
    show_quarantined(console, found.quarantined)


@app.command()
def wait(
    output: Annotated[str, typer.Argument(help="The output of a run")],
    run_id: Annotated[str | None, typer.Option(help="Wait for the run of this name, also before it begins")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most; then the status is 124")] = 86_400.0,
    poll: Annotated[float, typer.Option(help="Seconds between looks")] = 5.0,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Wait for a run to end and leave with its exit status: the newest one, or that of --run-id.

    A run that was killed leaves no summary; it is known by its lock, which is then no longer renewed: status 1.
    """
    from curator.engine.wait import WaitedError, wait_for_run

    storage = storage_from(config, overrides)
    try:
        summary = wait_for_run(output, storage, run_id=run_id, timeout_s=timeout, poll_s=poll)
    except WaitedError as error:
        say(str(error))
        raise typer.Exit(124) from error
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        shards, totals = summary["shards"], summary["totals"]
        console.print(
            f"{summary['status']} {summary['ended']}: {shards['done']} of {shards['manifest']} shards done, "
            f"{totals['rows']} rows ({totals['rejected']} rejected). {summary['message']}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if summary["exit_status"]:
        raise typer.Exit(summary["exit_status"])


@app.command()
def verify(
    output: Annotated[str, typer.Argument(help="The output of a run")],
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check every part against its receipt: rows == samples, schema, ids, digests. Exit status 1 on any problem."""
    from curator.engine.maintain import verify_output

    checked, faulty = 0, {}
    for url, problems in verify_output(output, storage_from(config, overrides)):
        checked += 1
        if problems:
            faulty[url] = problems
            if not as_json:
                for problem in problems:
                    console.print(f"{url}: {problem}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps({"checked": checked, "problems": faulty}, indent=1))
    else:
        console.print(f"{checked} shards checked, {len(faulty)} with problems", highlight=False)
    if faulty:
        raise typer.Exit(1)


@app.command()
def schema(
    run: Annotated[str | None, typer.Argument(help="The output of a run, for the columns that it has")] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    vocabulary: VocabularyFile = None,
    top_k: TopK = None,
    free: Free = None,
    entities: Entities = None,
    score: Score = None,
    as_json: AsJson = False,
) -> None:
    """Show the columns that a run with these settings will write: names, types, what they mean. Loads no weights."""
    from curator.console import rows_table
    from curator.engine.compose import storage_of
    from curator.engine.preview import planned_columns
    from curator.tables.readers import schema_of
    from curator.tables.schema import SCHEMA_VERSION, build_schema, describe

    settings = load(config, overrides, None, None)
    if run is None:
        settings = with_descriptions(settings, vocabulary, top_k, free, entities, score)
        dim, planned = planned_columns(settings)
        columns = describe(build_schema(dim, settings.output.embedding_dtype, planned))
    else:
        columns = describe(schema_of(run, storage_of(settings)))
    if as_json:
        typer.echo(json.dumps({"version": SCHEMA_VERSION, "columns": [asdict(column) for column in columns]}))
        return
    rows = [(column.name, column.type, "yes" if column.nullable else "no", column.description) for column in columns]
    console.print(rows_table(f"Schema version {SCHEMA_VERSION}", ["column", "type", "null", "description"], rows))


@app.command()
def encoders(
    match: Annotated[str, typer.Argument(help="Show only names that contain this")] = "",
    as_json: AsJson = False,
) -> None:
    """List the encoders that can be named, the embedded one first. hf-hub:… and local-dir:… work, too."""
    from curator.console import rows_table
    from curator.encoder.catalog import checkpoints
    from curator.errors import ConfigError, nearest

    known = checkpoints()
    found = [each for each in known if match.lower() in f"{each.name} {each.pretrained}".lower()]
    if not found:
        hint = nearest(match, {each.name for each in known}, "`curator encoders` lists all")
        raise ConfigError(f"no encoder has {match!r} in its name; {hint}")
    if as_json:
        typer.echo(json.dumps([{"name": each.name, "pretrained": each.pretrained} for each in found]))
    else:
        rows = [(each.name, each.pretrained, "ships with curator" if each.embedded else "") for each in found]
        console.print(rows_table("Encoders", ["encoder.name", "encoder.pretrained", ""], rows))
