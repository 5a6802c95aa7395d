"""The command that measures a finished run against the truth: eval. Wiring only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from curator.cli.app import AsJson, ConfigPath, Overrides, app, console, storage_from
from curator.cli.measure import Run, Seed, Templates, TruthFrom
from curator.cli.prompts import save


@app.command("eval")
def evaluate(
    run: Run,
    truth: TruthFrom,
    label_set: Annotated[str | None, typer.Option(help="Which label set; of several all are set side by side")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-O", help="Directory for report.json and report.html")] = None,
    png: Annotated[bool, typer.Option("--png", help="Also report.png (needs curator\\[report])")] = False,
    ablate: Annotated[
        Path | None, typer.Option(help="JSON descriptions by label: set plain, described and waffled side by side")
    ] = None,
    vocabulary: Annotated[str | None, typer.Option("--vocabulary", help="With --ablate: the labels")] = None,
    templates: Templates = "photo",
    free: Annotated[
        bool | None, typer.Option("--free/--no-free", help="Measure as labels without a vocabulary; known of own runs")
    ] = None,
    sentences: Annotated[
        str, typer.Option(help="Who judges meaning: encoder (the run's text tower), none, or package.module:callable")
    ] = "encoder",
    samples: Annotated[int, typer.Option(min=1, help="Bootstrap samples of the intervals")] = 1000,
    seed: Seed = 0,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure a run's labels against the truth: accuracy, mAP, calibration, coverage and risk, labels confused."""
    from curator.console import rows_table
    from curator.errors import ConfigError
    from curator.evaluation.label_columns import label_sets
    from curator.evaluation.measure import evaluate as measure
    from curator.evaluation.page import NAMES, interval, render
    from curator.evaluation.predictions import collect
    from curator.evaluation.truth import read_truth

    storage = storage_from(config, overrides)
    judge = _Judge(run, storage, free, sentences)
    if label_set is None and len(names := label_sets(run, storage)) > 1:
        _side_by_side(run, storage, truth, names, out, samples, seed, judge, as_json=as_json)
        return
    name, found = collect(run, storage, label_set, read_truth(truth))
    report: dict[str, Any] = {
        "run": run,
        "label_set": name,
        "truth": truth,
        **measure(found, samples=samples, seed=seed, naming=judge(name)),
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
    if "semantic_similarity" in report["measures"]:
        console.print(f"Semantic similarity by {report['sentences']}", highlight=False, markup=False)
    if report.get("ablation"):
        shown = [
            (row["name"], *(interval(row["measures"][each]) for each in ("top1", "ece"))) for row in report["ablation"]
        ]
        console.print(rows_table("Do descriptions help?", ["label set", "Top-1", "ECE"], shown))
    if report.get("confusions"):
        pairs = [(each["true"], each["given"], each["rows"]) for each in report["confusions"][:10]]
        console.print(rows_table("Labels taken for others", ["true", "given", "rows"], pairs))


class _Judge:
    """What measures a label set as free labels, where it is one; its sentence encoder is opened once."""

    def __init__(self, run: str, storage: Any, free: bool | None, sentences: str) -> None:
        self._run, self._storage, self._free, self._sentences = run, storage, free, sentences
        self._opened: Any = None

    def __call__(self, label_set: str) -> Any:
        from curator.evaluation.label_columns import free_label_sets
        from curator.evaluation.naming import open_naming

        free = label_set in free_label_sets(self._run, self._storage) if self._free is None else self._free
        if free and self._opened is None:
            self._opened = open_naming(self._sentences, self._run, self._storage)
        return self._opened if free else None


def _side_by_side(
    run: str,
    storage: Any,
    truth: str,
    names: list[str],
    out: Path | None,
    samples: int,
    seed: int,
    judge: _Judge,
    *,
    as_json: bool,
) -> None:
    """Every label set of a run against the same truth."""
    from curator.console import rows_table
    from curator.evaluation.measure import evaluate as measure
    from curator.evaluation.page import NAMES, interval
    from curator.evaluation.predictions import collect
    from curator.evaluation.truth import read_truth

    known = read_truth(truth)
    reports = {
        name: measure(collect(run, storage, name, known)[1], samples=samples, seed=seed, naming=judge(name))
        for name in names
    }
    table = [{"label_set": name, "rows": it["rows"], "measures": it["measures"]} for name, it in reports.items()]
    comparison = {"run": run, "truth": truth, "label_sets": table}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        save(out / "report.json", comparison)
    if as_json:
        return typer.echo(json.dumps(comparison))
    known_measures = ("top1", "top5", "macro", "map", "ece", "cluster_accuracy", "semantic_iou", "semantic_similarity")
    shown = [name for name in known_measures if any(name in each["measures"] for each in table)]
    nothing = {"value": None, "low": None, "high": None}
    rows = [
        (each["label_set"], each["rows"], *(interval(each["measures"].get(name, nothing)) for name in shown))
        for each in table
    ]
    headings = ["label set", "rows", *(f"{NAMES[name]} % (95 %)" for name in shown)]
    console.print(rows_table("Label sets side by side; --label-set NAME gives the whole report", headings, rows))


def _ablation(
    run: str, storage: Any, truth: str, vocabulary: str, templates: str, descriptions: str, samples: int, seed: int
) -> list[dict[str, Any]]:
    from curator.engine.compose import run_encoder
    from curator.evaluation.compare import ablation, compare
    from curator.evaluation.predictions import labelled_sample
    from curator.evaluation.truth import read_truth
    from curator.labels.heads import LabelSetSpec
    from curator.labels.templates import template_set
    from curator.labels.vocabulary import Vocabulary

    sample = labelled_sample(run, storage, read_truth(truth), limit=10_000, seed=seed)
    config, encoder = run_encoder(run, storage)
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
