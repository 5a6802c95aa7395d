"""Commands over the scores and captions of a run: concepts, rules, percentiles, heads. Decides nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from curator.cli.app import AsJson, ConfigPath, Output, Overrides, app, console, load, say, storage_from
from curator.cli.runs import signals

if TYPE_CHECKING:
    from curator.curation.concepts import Frequencies


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
    ngrams: Annotated[
        bool, typer.Option("--ngrams", help="Count words and pairs of words, too: for the rule on rare tokens of align")
    ] = False,
    rare: Annotated[int, typer.Option(help="Warn of concepts that fewer rows have")] = 100,
    t: Annotated[float, typer.Option("--t", help="MetaCLIP's limit: entries above it are thinned to it")] = 20_000,
    tail: Annotated[
        float | None, typer.Option(help="In its place: the share of matches that entries rarer than the limit have")
    ] = None,
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
    if tail is not None and not 0 < tail < 1:
        raise typer.BadParameter(f"{tail} is no share between 0 and 1", param_hint="--tail")
    request = Request(
        concepts=names,
        images=images,
        min_score=min_score,
        rule=cast('Literal["words", "phrase"]', text),
        columns=tuple(count or ()),
        ngrams=ngrams,
        rare=rare,
        t=t,
        tail=tail,
        plot=plot,
    )
    settings = load(config, overrides, None, output, input={"run": run.rstrip("/")}, run={"backend": backend})
    with signals() as (stop, signalled):
        found = concept_frequencies(settings, request, stop=stop)
    if found.summary.status != "complete":
        unread = ", ".join(letter["url"] for letter in found.summary.quarantined[:5])
        message = f"parts of {unread} cannot be read; repair them and run the same command again"
        say(f"curator: {message if unread else found.summary.message}")
        raise typer.Exit(signalled() or found.summary.exit_status)
    rarest = [] if found.concepts is None else [row for row in found.concepts.to_pylist() if row["rare"]]
    if rarest:
        some = ", ".join(f"{row['name']} ({row['n_text']} in text, {row['n_image']} in images)" for row in rarest[:5])
        say(f"curator: {len(rarest)} concepts are in fewer than {rare} rows: {some}")
    if found.totals.get("with_image") == 0:
        say("curator: no image shows any of the concepts: are they the labels (by id) of the column --images names?")
    if as_json:
        stated = {
            "totals": dict(found.totals),
            "misalignment": found.misalignment,
            "misalignment_of_named": found.misalignment_of_named,
            "rare": [row["concept_id"] for row in rarest],
            "t": dict(found.limits),
            "written": list(found.written),
        }
        typer.echo(json.dumps(stated, indent=1))
        return
    _show(found)


def _show(found: Frequencies) -> None:
    from curator.console import rows_table

    console.print(rows_table("Rows of the run", ["rows", "n"], [(name, str(n)) for name, n in found.totals.items()]))
    if found.misalignment is not None:
        named = (
            ""
            if found.misalignment_of_named is None
            else f"; of those that name one, {found.misalignment_of_named:.2%}"
        )
        console.print(
            f"{found.misalignment:.2%} of captioned rows share no concept with their image{named}", highlight=False
        )
    for name, limit in found.limits.items():
        console.print(f"{name}: entries of more than {limit:g} rows are thinned to them", highlight=False)
    for url in found.written:
        console.print(url, highlight=False, soft_wrap=True)


@app.command()
def rules(
    run: Annotated[str, typer.Argument(help="The output of a run")],
    source: Annotated[str, typer.Option("--rules", help="align | redcaps | a TOML or JSON file of rules")],
    frequencies: Annotated[
        str | None,
        typer.Option(
            help="Output of `curator concepts`, of that run or of a larger set: for rules on how often something occurs"
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A Parquet file: sample_id, kept, the rules that failed")
    ] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say what a pre-filter keeps of a run, and what each of its rules drops; write down the verdict on every row."""
    from curator.console import rows_table
    from curator.curation.rule_table import apply_rules
    from curator.curation.rules import read_rules

    storage = storage_from(config, overrides)
    found = apply_rules(run, storage, read_rules(source), frequencies=frequencies, output=output)
    if found.note:
        say(f"curator: {found.note}")
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=1))
        return
    rows = [(name, str(n), str(found.alone[name])) for name, n in found.dropped.items()]
    console.print(rows_table(f"Rules of {source}", ["rule", "drops", "alone"], rows))
    console.print(f"{found.kept} of {found.rows} rows kept, {found.rejected} were rejected before", highlight=False)
    if found.skipped:
        console.print(f"left out, as the run has not what they need: {', '.join(found.skipped)}", highlight=False)


@app.command()
def percentiles(
    run: Annotated[str, typer.Argument(help="The output of a run")],
    column: Annotated[
        list[str] | None,
        typer.Option(help="A score, a count, width or height; repeatable; default: all scores and counts"),
    ] = None,
    by: Annotated[str | None, typer.Option(help="A text column to divide by, such as caption_language")] = None,
    keep: Annotated[float | None, typer.Option(help="Also the threshold that keeps this share of the rows")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="A Parquet file for the table")] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the exact percentiles of a run's scores and counts, and the threshold that keeps a share of the rows."""
    from curator.console import rows_table
    from curator.curation.counts import to_bytes
    from curator.curation.percentiles import percentiles as measure

    storage = storage_from(config, overrides)
    table = measure(run, storage, column or (), by=by, keep=keep)
    if output:
        storage.write(output, to_bytes(table, {"run": run}))
    if as_json:
        typer.echo(json.dumps(table.to_pylist(), indent=1))
        return
    shown = ["column", *(["by"] if by else []), "n", "null", "p5", "p50", "p95", *(["threshold"] if keep else [])]
    rows = [tuple(_cell(row[name]) for name in shown) for row in table.to_pylist()]
    console.print(rows_table("Percentiles", shown, rows))


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


head_app = typer.Typer(help="Score heads over embeddings: make one of a run, or of a published file.")
app.add_typer(head_app, name="head")


@head_app.command()
def train(
    run: Annotated[str, typer.Argument(help="The output of a run")],
    labels: Annotated[str, typer.Option(help="Where the truth stands: json.FIELD, caption, or a CSV file")],
    positive: Annotated[str, typer.Option(help="The label whose probability the head gives")],
    output: Annotated[str, typer.Option("--output", "-o", help="The head's file: NAME.safetensors")],
    group: Annotated[
        str | None, typer.Option(help="json.FIELD or CSV: rows of one group are all taught or all held out")
    ] = None,
    max_rows: Annotated[int, typer.Option(help="At most so many rows, the first with a label")] = 1_000_000,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a head of a run's embeddings by logistic regression, and say how good it is on rows held out."""
    from curator.curation.head_training import train_head
    from curator.scores.head_files import write_head

    storage = storage_from(config, overrides)
    head = train_head(run, storage, labels=labels, positive=positive, group=group, max_rows=max_rows)
    storage.write(output, write_head(head))
    _show_head(head.card, output, as_json=as_json)


@head_app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A published head: .safetensors, .pth, or a zipped SavedModel")],
    output: Annotated[str, typer.Option("--output", "-o", help="The head's file: NAME.safetensors")],
    layout: Annotated[str, typer.Option(help="What it is: aesthetic_v2, nsfw_l14, nsfw_b32, nsfw_h14, mlp, ...")],
    encoder_digest: Annotated[
        str, typer.Option(help="Digest of the encoder that it is for, as `curator status RUN --json` names it")
    ] = "",
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a head's file of a published one; no code in it is run."""
    from curator.options import file_bytes
    from curator.scores import layouts
    from curator.scores.head_files import write_head

    storage = storage_from(config, overrides)
    head = layouts.convert(file_bytes(source, storage, "head convert:"), source, layout, encoder_digest=encoder_digest)
    storage.write(output, write_head(head))
    _show_head({**head.card, "for": head.encoder, "encoder_digest": head.encoder_digest}, output, as_json=as_json)


def _show_head(card: Mapping[str, object], output: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dict(card), indent=1))
        return
    for name, value in card.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    console.print(output, highlight=False, soft_wrap=True)
