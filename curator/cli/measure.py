"""Commands that fit what heads take on a finished run: calibrate, prompts search. Wiring only."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from curator.cli.app import AsJson, ConfigPath, Overrides, app, console, storage_from
from curator.cli.prompts import SaveTo, prompts, save

calibrate = typer.Typer(help="Fit what heads take, on a sample of a run.", no_args_is_help=True)
app.add_typer(calibrate, name="calibrate")

Run = Annotated[str, typer.Argument(help="The output of a run")]
TruthFrom = Annotated[str, typer.Option("--truth", help="json.FIELD, caption, or a CSV file: sample_id or key, labels")]
Words = Annotated[str, typer.Option("--vocabulary", help="The labels: text, JSON or TOML")]
Templates = Annotated[str, typer.Option(help="A template set, or a file with a template a line")]
SampleSize = Annotated[int, typer.Option("--sample", min=2, help="At most so many rows")]
Seed = Annotated[int, typer.Option(help="The seed of samples and intervals")]


@calibrate.command()
def temperature(
    run: Run,
    truth: TruthFrom,
    vocabulary: Words,
    templates: Templates = "photo",
    sample: SampleSize = 10_000,
    seed: Seed = 0,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Fit the factor before the softmax on rows whose truth is known: the option scale of a label set."""
    from curator.evaluation.fitting import open_labelled
    from curator.evaluation.fitting import temperature as fit

    storage = storage_from(config, overrides)
    fitted = fit(open_labelled(run, storage, vocabulary=vocabulary, truth=truth, limit=sample, seed=seed), templates)
    if as_json:
        typer.echo(json.dumps(fitted))
        return
    console.print(
        f"NLL {fitted['nll_before']:.4f} -> {fitted['nll_after']:.4f}, ECE {fitted['ece_before']:.4f} -> "
        f"{fitted['ece_after']:.4f} on {fitted['rows']:.0f} rows\n"
        f"In the label set: options = {{scale = {fitted['scale']:.4f}}}",
        highlight=False, markup=False,
    )  # fmt: skip


@calibrate.command()
def groups(
    run: Run,
    truth: TruthFrom,
    vocabulary: Words,
    groups_file: Annotated[Path, typer.Option("--groups", help="JSON: lists of labels by group")],
    first: Annotated[str, typer.Option(help="The group whose cosines are lowered, against all other labels")],
    out: SaveTo,
    png: Annotated[Path | None, typer.Option(help="Draw the curve (needs curator\\[report])")] = None,
    templates: Templates = "photo",
    sample: SampleSize = 10_000,
    seed: Seed = 0,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Sweep a bias between two groups of labels (calibrated stacking): the option group_bias of the head calibrated."""
    from curator.errors import ConfigError
    from curator.evaluation.fitting import group_sweep, open_labelled

    try:
        table = json.loads(groups_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--groups {groups_file} cannot be read as JSON: {error}") from error
    storage = storage_from(config, overrides)
    labelled = open_labelled(run, storage, vocabulary=vocabulary, truth=truth, limit=sample, seed=seed)
    found = group_sweep(labelled, templates, table, first)
    save(out, found)
    if png is not None:
        from curator.evaluation.figures import draw_curve

        draw_curve(found["points"], png, first=first, second="all other labels")
    best = found["best"]
    console.print(
        f"best bias {best['bias']:.4f}: {first} {best['first']:.3f}, others {best['second']:.3f}, "
        f"area under the curve {found['area']:.4f}",
        highlight=False, markup=False,
    )  # fmt: skip


@calibrate.command()
def thresholds(
    run: Run,
    vocabulary: Words,
    out: SaveTo,
    percentile: Annotated[float, typer.Option(help="Of each label's probability over the sample")] = 95.0,
    templates: Templates = "photo",
    sample: SampleSize = 10_000,
    seed: Seed = 0,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Thresholds by label from percentiles of a sample, without any truth: the option thresholds of the head tags."""
    from curator.evaluation.fitting import thresholds as fit

    made = fit(
        run, storage_from(config, overrides),
        vocabulary=vocabulary, templates=templates, percentile=percentile, sample=sample, seed=seed,
    )  # fmt: skip
    save(out, made)
    console.print(f'In the label set: head = "tags", options = {{thresholds = "{out}"}}', highlight=False, markup=False)


@calibrate.command()
def hubs(
    run: Run,
    vocabulary: Words,
    out: SaveTo,
    nearest: Annotated[int, typer.Option(min=1, help="Images that a label's bias is the mean over")] = 256,
    weight: Annotated[float, typer.Option(help="Share of the bias to take off")] = 0.5,
    templates: Templates = "photo",
    sample: SampleSize = 10_000,
    seed: Seed = 0,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Lower labels that are near to every image (NNN), without any truth: the option offsets of the head calibrated."""
    from curator.evaluation.fitting import hub_offsets

    made = hub_offsets(
        run, storage_from(config, overrides), vocabulary=vocabulary, templates=templates,
        sample=sample, nearest=nearest, weight=weight, seed=seed,
    )  # fmt: skip
    save(out, made)
    console.print(
        f'In the label set: head = "calibrated", options = {{offsets = "{out}"}}', highlight=False, markup=False
    )


@prompts.command()
def search(
    run: Run,
    truth: TruthFrom,
    vocabulary: Words,
    out: Annotated[Path, typer.Option("--out", "-O", help="The file of templates to write")],
    start: Annotated[str, typer.Option(help="Where the climb begins: a template set or file")] = "photo",
    rounds: Annotated[int, typer.Option(min=1)] = 50,
    most: Annotated[int, typer.Option(min=1, help="At most so many templates")] = 8,
    endpoint: Annotated[str | None, typer.Option(help="Ask a model for templates: a url up to /v1")] = None,
    model: Annotated[str, typer.Option(help="The model's name there")] = "",
    sample: SampleSize = 2_000,
    seed: Seed = 0,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Search for templates by hill climbing on rows whose truth is known; half of them only judge what was found."""
    from curator.errors import ConfigError
    from curator.evaluation.fitting import open_labelled, search_prompts

    storage = storage_from(config, overrides)
    labelled = open_labelled(run, storage, vocabulary=vocabulary, truth=truth, limit=sample, seed=seed)
    complete = None
    if endpoint is not None:
        from curator.labels.describe import Endpoint, answer_of

        asked = Endpoint(endpoint, model)
        complete = partial(answer_of, asked, cache_dir=labelled.cache_dir)
    found = search_prompts(labelled, start, rounds=rounds, most=most, seed=seed, complete=complete)
    try:
        out.write_text("\n".join(found["templates"]) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error}") from error
    for template in found["templates"]:
        console.print(template, highlight=False, markup=False)
    console.print(
        f"macro recall on rows that the search did not see: {found['held_out_start']:.4f} -> {found['held_out']:.4f} "
        f"(on its own rows {found['start_score']:.4f} -> {found['score']:.4f}, {found['tried']} sets tried)",
        highlight=False, markup=False,
    )  # fmt: skip
