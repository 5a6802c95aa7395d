"""The ``prompts`` commands: files that heads read, made before a run. Wiring only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from curator.cli.app import AsJson, ConfigPath, Overrides, app, console, storage_from

if TYPE_CHECKING:
    from curator.labels.weighing import Combine

prompts = typer.Typer(help="Make the files that heads read: prompt weights, descriptions.", no_args_is_help=True)
app.add_typer(prompts, name="prompts")

SaveTo = Annotated[Path, typer.Option("--out", "-O", help="The JSON file to write")]


@prompts.command()
def weigh(
    run: Annotated[str, typer.Argument(help="The output of a run: its embeddings are the sample")],
    vocabulary: Annotated[str, typer.Option("--vocabulary", help="The labels that the prompts will name")],
    out: SaveTo,
    templates: Annotated[str, typer.Option(help="A template set, or a file with a template a line")] = "openai",
    reference: Annotated[str | None, typer.Option(help="A run of the same encoder over generic images")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Embeddings to sample from each run")] = 10_000,
    combine: Annotated[str, typer.Option(help="softmax | scores | equal")] = "softmax",
    select: Annotated[
        float | None, typer.Option(help="Keep templates over the median by more than so many MADs")
    ] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Weigh prompt templates on a run's stored embeddings, without labels (ZPE), for the head zpe."""
    from curator.console import rows_table
    from curator.errors import ConfigError
    from curator.evaluation.fitting import weigh_run

    if combine not in ("softmax", "scores", "equal"):
        raise ConfigError(f"--combine {combine}: use softmax, scores or equal")
    weights = weigh_run(
        run,
        storage_from(config, overrides),
        vocabulary=vocabulary,
        templates=templates,
        reference=reference,
        sample=sample,
        combine=cast("Combine", combine),
        select=select,
    )
    save(out, weights)
    if as_json:
        typer.echo(json.dumps(weights))
        return
    ranked = sorted(weights["weights"].items(), key=lambda item: -item[1])
    rows = [(template, f"{weight:.4f}", f"{weights['scores'][template]:.3f}") for template, weight in ranked[:20]]
    console.print(rows_table(f"Largest of {len(ranked)} weights", ["template", "weight", "score"], rows))
    console.print(f'In the label set: head = "zpe", options = {{weights = "{out}"}}', highlight=False, markup=False)


@prompts.command()
def prototypes(
    run: Annotated[str, typer.Argument(help="The output of a run: its embeddings are the sample")],
    vocabulary: Annotated[str, typer.Option("--vocabulary", help="The labels")],
    truth: Annotated[str, typer.Option("--truth", help="json.FIELD, caption, or a CSV file: sample_id or key, labels")],
    out: SaveTo,
    sample: Annotated[int, typer.Option(min=1, help="Rows with a known truth to draw at most")] = 10_000,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Average a labelled sample's embeddings by label, for the head disclip."""
    from curator.evaluation.fitting import open_labelled
    from curator.kernels.vectors import l2_normalize

    labelled = open_labelled(run, storage_from(config, overrides), vocabulary=vocabulary, truth=truth, limit=sample)
    means = {}
    for row, label in enumerate(labelled.vocabulary.labels):
        own = labelled.images[labelled.target == row]
        if len(own):
            mean = l2_normalize(own).mean(dim=0)
            means[label.id] = [round(value, 6) for value in mean.tolist()]
    save(out, {"encoder_digest": labelled.encoder.digest, "prototypes": means})
    lacking = len(labelled.vocabulary) - len(means)
    console.print(f"{len(means)} labels in {out}, {lacking} without a row", highlight=False)


def save(path: Path, content: object) -> None:
    """Write JSON for people to read. ConfigError where the file cannot be written."""
    from curator.errors import ConfigError

    try:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written: {error}") from error
