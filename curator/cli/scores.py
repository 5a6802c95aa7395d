"""Commands over the scores and captions of a run: concepts. Decides nothing."""

from __future__ import annotations

import json
from typing import Annotated, Literal, cast

import typer

from curator.cli.app import AsJson, ConfigPath, Output, Overrides, app, console, load, say
from curator.cli.runs import signals

_SHOWN = 20


@app.command()
def concepts(
    run: Annotated[str, typer.Argument(help="The output of a run")],
    output: Output = None,
    names: Annotated[
        str | None, typer.Option("--concepts", help="A vocabulary file, or the name of one of the run's label sets")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="The column that says what images show; '' counts captions alone")
    ] = None,
    min_score: Annotated[float, typer.Option(help="Least score of a label that an image is taken to show")] = 0.0,
    text: Annotated[str, typer.Option(help="words: all words of a name, in any order | phrase: in a row")] = "words",
    count: Annotated[
        list[str] | None,
        typer.Option("--count", help="A column to count entry by entry (metaclip, catlip); repeatable"),
    ] = None,
    rare: Annotated[int, typer.Option(help="Warn of concepts that fewer rows have")] = 100,
    t: Annotated[float, typer.Option("--t", help="MetaCLIP's limit: entries above it are thinned to it")] = 20_000,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the long tail: concepts.png")] = False,
    backend: Annotated[str | None, typer.Option(help="local | ray")] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Count how often concepts, entries, captions and images occur in a run. Run again to resume; counts are exact."""
    from curator.curation.concepts import Request, concept_frequencies

    if text not in ("words", "phrase"):
        raise typer.BadParameter("choose words or phrase", param_hint="--text")
    request = Request(
        concepts=names,
        images=images,
        min_score=min_score,
        rule=cast('Literal["words", "phrase"]', text),
        columns=tuple(count or ()),
        rare=rare,
        t=t,
        plot=plot,
    )
    settings = load(config, overrides, None, output, input={"run": run.rstrip("/")}, run={"backend": backend})
    with signals() as (stop, signalled):
        found = concept_frequencies(settings, request, stop=stop)
    if found.summary.status != "complete":
        say(f"curator: {found.summary.message}")
        raise typer.Exit(signalled() or found.summary.exit_status)
    rarest = [] if found.concepts is None else [row for row in found.concepts.to_pylist() if row["rare"]]
    if rarest:
        some = ", ".join(f"{row['name']} ({row['n_text']} in text, {row['n_image']} in images)" for row in rarest[:5])
        say(f"curator: {len(rarest)} concepts are in fewer than {rare} rows: {some}")
    if found.totals.get("with_image") == 0:
        say("curator: no image shows any of the concepts: are they the labels (by id) of the column --images names?")
    if as_json:
        stated = {"totals": dict(found.totals), "misalignment": found.misalignment, "written": list(found.written)}
        typer.echo(json.dumps({**stated, "rare": [row["concept_id"] for row in rarest]}, indent=1))
        return
    _show(found.totals, found.misalignment, found.written)


def _show(totals: object, misalignment: float | None, written: tuple[str, ...]) -> None:
    from curator.console import rows_table

    assert isinstance(totals, dict)
    console.print(rows_table("Rows of the run", ["rows", "n"], [(name, str(n)) for name, n in totals.items()]))
    if misalignment is not None:
        console.print(f"{misalignment:.2%} of captioned rows share no concept with their image", highlight=False)
    for url in written:
        console.print(url, highlight=False, soft_wrap=True)
