"""The ``describe`` command: description files from a language model. Wiring only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from curator.cli.app import app, console
from curator.cli.prompts import SaveTo, save

if TYPE_CHECKING:
    from curator.labels.describe import Kind

KINDS = ("sentences", "descriptors", "children", "differences")


@app.command()
def describe(
    vocabulary: Annotated[str, typer.Option("--vocabulary", help="The labels to describe")],
    endpoint: Annotated[str, typer.Option(help="An OpenAI-compatible url, up to /v1")],
    model: Annotated[str, typer.Option(help="The model's name there")],
    out: SaveTo,
    kind: Annotated[
        str, typer.Option(help="sentences (cupl) | descriptors (dclip) | children (chils) | differences (fudd)")
    ] = "descriptors",
    count: Annotated[int, typer.Option(min=1, help="How many children, or differences of a pair")] = 10,
    pairs: Annotated[
        Path | None, typer.Option(help="JSON list of the pairs of labels to tell apart; default all")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.7,
    key_variable: Annotated[str, typer.Option(help="The environment variable with the key")] = "OPENAI_API_KEY",
    cache_dir: Annotated[str | None, typer.Option(help="Where answers are kept; ~/.cache/curator")] = None,
) -> None:
    """Ask a language model for descriptions of labels, once, for the heads cupl, dclip, chils and fudd."""
    from curator.errors import ConfigError
    from curator.labels import describe as writing
    from curator.labels.vocabulary import Vocabulary

    if kind not in KINDS:
        raise ConfigError(f"--kind {kind}: use {', '.join(KINDS)}")
    chosen = None
    if pairs is not None:
        try:
            chosen = [(str(first), str(second)) for first, second in json.loads(pairs.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"--pairs {pairs}: must be a JSON list of pairs of labels: {error}") from error
    made = writing.describe(
        Vocabulary.load(vocabulary),
        cast("Kind", kind),
        writing.Endpoint(endpoint, model, temperature=temperature, key_variable=key_variable),
        count=count,
        pairs=chosen,
        cache_dir=cache_dir,
    )
    save(out, made)
    console.print(f"{len(made)} entries in {out}", highlight=False)
