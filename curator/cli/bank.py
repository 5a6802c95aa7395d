"""The ``bank`` commands: caption banks built, shown and searched. Wiring only."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli.app import AsJson, ConfigPath, Output, Overrides, app, console, load
from curator.cli.runs import run_shown

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from curator.captions import BankFacts
    from curator.engine.progress import Progress, Summary

bank = typer.Typer(help="Caption banks: what vocabulary-free labels are found in.", no_args_is_help=True)
app.add_typer(bank, name="bank")

BankUrl = Annotated[str, typer.Argument(metavar="BANK", help="The output of `bank build`, or embedded")]


@bank.callback()
def _group() -> None:
    """Caption banks: what vocabulary-free labels are found in."""


@bank.command()
def build(
    captions: Annotated[
        list[str],
        typer.Option("--captions", help="*.parquet, *.txt[.gz] or shards: path, url, glob, prefix, @list; repeatable"),
    ],
    output: Output = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
    column: Annotated[str, typer.Option(help="The captions' column in Parquet files")] = "caption",
    member: Annotated[
        str | None, typer.Option("--caption", help="Where a shard's captions are: an extension, or json.<field>")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="The encoder whose images will be looked up; embedded")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Its open_clip tag or weights file")] = None,
    index: Annotated[
        str | None,
        typer.Option(help="Approximate index: ivf | hnsw | pq (needs curator\\[faiss]) | none; else as it was"),
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="Of text files and members; captions that are not in it are left out")
    ] = "utf-8",
    backend: Annotated[str | None, typer.Option(help="local | ray")] = None,
    as_json: AsJson = False,
) -> None:
    """Embed captions once, for any number of runs. Run the same command again to resume, or to add what is new."""
    from curator.curation.bank import BankSettings
    from curator.curation.bank import build as start

    settings = load(
        config, overrides, captions, output,
        input={"caption": member}, encoder={"name": encoder, "pretrained": pretrained}, run={"backend": backend},
    )  # fmt: skip
    made: list[BankFacts | None] = []

    def run(observe: Callable[[Progress], None], stop: threading.Event) -> Summary:
        summary, facts = start(settings, BankSettings(column, index, encoding), observe=observe, stop=stop)
        made.append(facts)
        return summary

    run_shown(run, settings.output.url, as_json=as_json)
    if made[0] is not None and not as_json:
        _show(settings.output.url, made[0], as_json=False)


@bank.command()
def show(url: BankUrl, config: ConfigPath = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """What a bank holds and what made it, without reading its vectors."""
    from curator.captions import read_facts
    from curator.engine.compose import storage_of

    _show(url, read_facts(url, storage_of(load(config, overrides, None, None))), as_json=as_json)


def _show(url: str, facts: BankFacts, *, as_json: bool) -> None:
    from curator.captions.facts import counts_told
    from curator.console import size_text

    if as_json:
        typer.echo(json.dumps(asdict(facts), indent=1))
        return
    lines = [
        f"{url}: {facts.count:,} captions x {facts.dim} dimensions, float16, "
        f"{size_text(sum(file.size for file in facts.files))}",
        f"digest     {facts.digest}",
        f"encoder    {facts.encoder} ({facts.encoder_digest}), in {facts.precision}",
        f"captions   {counts_told(facts.captions, facts.first_left_out)}",
        f"sources    {len(facts.sources)}: {', '.join(facts.sources[:3])}{', …' if len(facts.sources) > 3 else ''}",
    ]
    if facts.index is None:
        lines.append("index      none: search is exact")
    else:
        search = ", ".join(f"{name}={value}" for name, value in facts.index.search.items())
        lines.append(
            f"index      {facts.index.kind} ({facts.index.factory}, {search}, {size_text(facts.index.file.size)}): "
            f"recall@10 {facts.index.recall_at_10:.3f} against exact search, {facts.index.queries} queries"
        )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@bank.command()
def search(
    url: BankUrl,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts whose neighbours are looked for")] = None,
    images: Annotated[list[Path] | None, typer.Option("--image", help="Or image files; repeatable")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Captions for each")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Pass over the bank's approximate index")] = False,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """The captions nearest to texts or images, by the encoder that made the bank unless the config names one."""
    from curator.captions import CaptionBank, read_facts
    from curator.curation.bank import with_encoder_of
    from curator.engine.compose import open_encoder, storage_of
    from curator.errors import ConfigError, SampleError

    if not texts and not images:
        raise ConfigError("nothing to look for: give texts, or --image FILE")
    settings = load(config, overrides, None, None)
    storage = storage_of(settings)
    settings = with_encoder_of(read_facts(url, storage), settings)
    encoder = open_encoder(settings)
    opened = CaptionBank.open(url, storage, settings.encoder.cache_dir, encoder=encoder, exact=exact)
    queries = {**dict.fromkeys(texts or ()), **dict.fromkeys(str(path) for path in images or ())}
    found = {}
    for query in queries:
        try:
            vector = encoder.embed_text([query]) if query in (texts or ()) else encoder.embed([Path(query)])
        except (OSError, SampleError) as error:
            raise ConfigError(f"--image {query}: cannot be read as an image: {error}") from error
        scores, rows = opened.search(vector, k)
        kept = rows[0][rows[0] >= 0]
        found[query] = [
            {"score": round(score, 4), "caption": caption}
            for score, caption in zip(scores[0].tolist(), opened.texts(kept.cpu()), strict=False)
        ]
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for query, captions in found.items():
        console.print(query, style="bold", highlight=False, markup=False)
        for each in captions:
            console.print(f"  {each['score']:.4f}  {each['caption']}", highlight=False, markup=False)
