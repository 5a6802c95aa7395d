"""Commands that measure a finished run against the truth, and fit what heads take: eval, calibrate. Wiring only."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

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


@app.command("eval")
def evaluate(
    run: Run,
    truth: TruthFrom,
    label_set: Annotated[str | None, typer.Option(help="Which label set; of several all are set side by side")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-O", help="Directory for report.json and report.html")] = None,
    png: Annotated[bool, typer.Option("--png", help="Also report.png (needs curator[report])")] = False,
    ablate: Annotated[
        Path | None, typer.Option(help="JSON descriptions by label: set plain, described and waffled side by side")
    ] = None,
    vocabulary: Annotated[str | None, typer.Option("--vocabulary", help="With --ablate: the labels")] = None,
    templates: Templates = "photo",
    samples: Annotated[int, typer.Option(min=1, help="Bootstrap samples of the intervals")] = 1000,
    seed: Seed = 0,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure a run's labels against the truth: accuracy, mAP, calibration, coverage and risk, labels confused."""
    from curator.console import rows_table
    from curator.errors import ConfigError
    from curator.evaluation.measure import evaluate as measure
    from curator.evaluation.page import NAMES, interval, render
    from curator.evaluation.predictions import collect, label_sets
    from curator.evaluation.truth import read_truth

    storage = storage_from(config, overrides)
    if label_set is None and len(names := label_sets(run, storage)) > 1:
        _side_by_side(run, storage, truth, names, out, samples, seed, as_json=as_json)
        return
    name, found = collect(run, storage, label_set, read_truth(truth))
    report: dict[str, Any] = {
        "run": run,
        "label_set": name,
        "truth": truth,
        **measure(found, samples=samples, seed=seed),
    }
    if ablate is not None:
        if vocabulary is None:
            raise ConfigError("--ablate scores the embeddings again: give --vocabulary, the labels of the label set")
        report["ablation"] = _ablation(run, storage, truth, vocabulary, templates, str(ablate), samples, seed)
    if out is not None:
        _write(out, report, render(report, title=f"{name} in {run}"), png=png)
    if as_json:
        typer.echo(json.dumps(report))
        return
    rows = [(NAMES[measure], interval(value)) for measure, value in report["measures"].items()]
    console.print(rows_table(f"{name}: {report['rows']} rows with a known truth", ["measure", "% (95 %)"], rows))
    if report.get("ablation"):
        shown = [
            (row["name"], *(interval(row["measures"][each]) for each in ("top1", "ece"))) for row in report["ablation"]
        ]
        console.print(rows_table("Do descriptions help?", ["label set", "Top-1", "ECE"], shown))
    if report.get("confusions"):
        pairs = [(each["true"], each["given"], each["rows"]) for each in report["confusions"][:10]]
        console.print(rows_table("Labels taken for others", ["true", "given", "rows"], pairs))


def _side_by_side(
    run: str, storage: Any, truth: str, names: list[str], out: Path | None, samples: int, seed: int, *, as_json: bool
) -> None:
    """Every label set of a run against the same truth."""
    from curator.console import rows_table
    from curator.evaluation.measure import evaluate as measure
    from curator.evaluation.page import NAMES, interval
    from curator.evaluation.predictions import collect
    from curator.evaluation.truth import read_truth

    known = read_truth(truth)
    reports = {name: measure(collect(run, storage, name, known)[1], samples=samples, seed=seed) for name in names}
    table = [{"label_set": name, "rows": it["rows"], "measures": it["measures"]} for name, it in reports.items()]
    comparison = {"run": run, "truth": truth, "label_sets": table}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        save(out / "report.json", comparison)
    if as_json:
        return typer.echo(json.dumps(comparison))
    shown = [each for each in ("top1", "top5", "macro", "map", "ece") if each in table[0]["measures"]]
    rows = [(each["label_set"], each["rows"], *(interval(each["measures"][name]) for name in shown)) for each in table]
    headings = ["label set", "rows", *(f"{NAMES[name]} % (95 %)" for name in shown)]
    console.print(rows_table("Label sets side by side; --label-set NAME gives the whole report", headings, rows))


def _ablation(
    run: str, storage: Any, truth: str, vocabulary: str, templates: str, descriptions: str, samples: int, seed: int
) -> list[dict[str, Any]]:
    from curator.evaluation.compare import ablation, compare, encoder_of
    from curator.evaluation.predictions import labelled_sample
    from curator.evaluation.truth import read_truth
    from curator.labels.heads import LabelSetSpec
    from curator.labels.templates import template_set
    from curator.labels.vocabulary import Vocabulary

    sample = labelled_sample(run, storage, read_truth(truth), limit=10_000, seed=seed)
    config, encoder = encoder_of(run, storage, sample)
    spec = LabelSetSpec("labels", Vocabulary.load(vocabulary), template_set(templates))
    return compare(
        ablation(spec, descriptions), sample, encoder,
        cache_dir=config.encoder.cache_dir, samples=samples, seed=seed,
    )  # fmt: skip


def _write(out: Path, report: dict[str, Any], page: str, *, png: bool) -> None:
    from curator.errors import ConfigError

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error}") from error
    save(out / "report.json", report)
    if png:
        from curator.evaluation.figures import draw_report

        draw_report(report, out / "report.png")


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
    png: Annotated[Path | None, typer.Option(help="Draw the curve (needs curator[report])")] = None,
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
