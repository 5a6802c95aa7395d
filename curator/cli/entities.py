"""The ``gazetteer`` and ``entities`` commands: what entity tags are made from. Wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli.app import ConfigPath, Overrides, app, console, storage_from

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence
    from typing import Any

    from curator.encoder import Encoder
    from curator.entities.building import SourceEntity
    from curator.storage import Storage

gazetteer = typer.Typer(help="Make and read gazetteers: entities and their aliases.", no_args_is_help=True)
app.add_typer(gazetteer, name="gazetteer")


@gazetteer.callback()
def _group() -> None:
    """Make and read gazetteers: entities and their aliases."""


@gazetteer.command("build")
def build(
    source: Annotated[
        str, typer.Argument(help="Wikidata dump (.json, .jsonl, also .gz or .bz2), .csv, .parquet, or WordNet's folder")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="The gazetteer file: path or url")],
    language: Annotated[list[str] | None, typer.Option(help="Of a dump, the best first; repeatable [en]")] = None,
    without_type: Annotated[
        list[str] | None,
        typer.Option(help="Of a dump: leave out its instances; repeatable [pages that are no thing]"),
    ] = None,
    separator: Annotated[str, typer.Option(help="Between the aliases of a CSV's row")] = "|",
    plurals: Annotated[bool, typer.Option(help="Of WordNet: add regular plurals")] = True,
    stop_words: Annotated[
        Path | None,
        typer.Option(help="More words (a line each) that are no alias by themselves, not only English"),
    ] = None,
    min_chars: Annotated[int, typer.Option(min=1, help="Shorter aliases go (short)")] = 2,
    max_tokens: Annotated[int, typer.Option(min=1, help="Aliases of more words go (long)")] = 12,
    min_share: Annotated[
        float, typer.Option(min=0, max=1, help="Aliases whose likeliest entity has a smaller share go (ambiguous)")
    ] = 0.15,
    min_candidate_share: Annotated[
        float, typer.Option(min=0, max=1, help="Meanings with a smaller share of an alias go (unlikely)")
    ] = 0.02,
    most_candidates: Annotated[int, typer.Option(min=1, help="Meanings of an alias at most (unlikely)")] = 8,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Build a gazetteer, and say how many aliases each rule left out."""
    from collections import Counter

    from curator.entities.building import build as build_gazetteer
    from curator.entities.places import written
    from curator.entities.rules import Rules
    from curator.entities.rules import stop_words as stop_words_of
    from curator.errors import ConfigError

    try:
        more = () if stop_words is None else stop_words.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--stop-words {stop_words}: cannot be read as UTF-8 text: {error}") from error
    rules = Rules(
        stop_words_of(more),
        min_chars=min_chars,
        max_tokens=max_tokens,
        min_share=min_share,
        min_candidate_share=min_candidate_share,
        most_candidates=most_candidates,
    )
    skipped: Counter[str] = Counter()
    storage = storage_from(config, overrides)
    entities, facts = _source(source, storage, language or ["en"], without_type, separator, plurals, skipped)
    with written(output, storage) as path:
        built = build_gazetteer(entities, path, rules, facts)
    for reason, count in sorted(skipped.items()):
        console.print(f"items left out, {reason}: {count}", highlight=False)
    for reason, count in sorted(built.dropped.items()):
        console.print(f"aliases left out, {reason}: {count}", highlight=False)
    console.print(
        f"{built.entities} entities, {built.aliases} aliases in {output} ({built.digest[:12]})", highlight=False
    )


def _source(
    source: str,
    storage: Storage,
    languages: Sequence[str],
    without_types: Sequence[str] | None,
    separator: str,
    plurals: bool,
    skipped: Counter[str],
) -> tuple[Iterable[SourceEntity], dict[str, Any]]:
    from curator.entities.places import local_copy
    from curator.entities.sources import NO_ENTITIES, read_table, read_wikidata, read_wordnet

    if source.endswith((".csv", ".parquet")):
        return read_table(local_copy(source, storage), separator=separator), {"kind": "table", "url": source}
    if Path(source).is_dir():
        return read_wordnet(Path(source), plurals=plurals), {"kind": "wordnet", "plurals": plurals}
    types = NO_ENTITIES if without_types is None else without_types
    facts = {"kind": "wikidata", "url": source, "languages": list(languages), "without_types": list(types)}
    return read_wikidata(source, storage, languages=languages, without_types=types, skipped=skipped), facts


@gazetteer.command("show")
def show(
    path: Annotated[str, typer.Argument(help="Gazetteer file: path or url")],
    alias: Annotated[str | None, typer.Argument(help="Show what this alias may mean")] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Show how a gazetteer was built, or the entities that an alias may mean, the likeliest first."""
    from curator.entities.gazetteer import Gazetteer, check
    from curator.entities.places import local_copy
    from curator.errors import ConfigError

    opened = Gazetteer.open(local_copy(path, storage_from(config, overrides), check=check))
    if alias is None:
        for name, value in sorted(opened.facts.items()):
            console.print(f"{name}: {value}", highlight=False, markup=False)
        return
    meanings = opened.find(alias)
    if not meanings:
        raise ConfigError(
            f"{path}: no alias {alias!r}; a rule may have left it out (see `curator gazetteer show {path}`)"
        )
    for row, share in meanings:
        entity = opened.entity(row)
        console.print(
            f"{share:.3f}  {entity.entity_id}  {entity.name}  {entity.type}  {entity.description}",
            highlight=False,
            markup=False,
        )


jobs = typer.Typer(help="Make what entity tags need from a finished run.", no_args_is_help=True)
app.add_typer(jobs, name="entities")

Run = Annotated[str, typer.Argument(help="The output of a run")]


@jobs.callback()
def _jobs() -> None:
    """Make what entity tags need from a finished run."""


def _encoder(run: str, config: str | None, overrides: list[str] | None) -> Encoder:
    from curator.cli.app import load
    from curator.curation.relabel import encoder_of_run
    from curator.engine.compose import storage_of

    settings = load(config, overrides, None, None, input={"run": run.rstrip("/")})
    return encoder_of_run(settings, storage_of(settings))


@jobs.command("calibrate")
def calibrate(
    run: Run,
    gazetteer_url: Annotated[str, typer.Option("--gazetteer", help="Of the tags: path or url")],
    quantile: Annotated[float, typer.Option(min=0, max=1, help="Of foreign mentions that shall not pass")] = 0.9,
    rows: Annotated[int, typer.Option(min=2, help="Rows with captions to look at")] = 20_000,
    descriptions: Annotated[
        bool,
        typer.Option("--descriptions", help="As with descriptions = true: names and descriptions, not names alone"),
    ] = False,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Find the threshold of method mofi for a run's encoder, from captions that are given to other images."""
    from curator.curation.entities import calibrate as measure

    encoder = _encoder(run, config, overrides)
    found = measure(
        run.rstrip("/"),
        gazetteer_url,
        storage_from(config, overrides),
        encoder,
        quantile=quantile,
        rows=rows,
        descriptions=descriptions,
    )
    console.print(
        f"threshold = {found.threshold:.4f}: {1 - quantile:.1%} of {len(found.foreign)} foreign mentions pass, and "
        f"{found.own_kept:.1%} of {len(found.own)} own ones (encoder {encoder.digest})",
        highlight=False,
        soft_wrap=True,
    )


@jobs.command("harvest")
def harvest(
    run: Run,
    output: Annotated[str, typer.Option("--output", "-o", help="The file of exemplars: path or url")],
    column: Annotated[str, typer.Option(help="The run's column of entities")] = "entities",
    pool: Annotated[str, typer.Option(help="image (method registry) | image+text (method clippings)")] = "image",
    min_score: Annotated[float, typer.Option(help="Tags with a lower score do not count")] = -1.0,
    min_evidence: Annotated[int, typer.Option(min=1, help="Images that an entity needs")] = 3,
    min_similarity: Annotated[float, typer.Option(help="Images further from their entity's mean go")] = -1.0,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Harvest exemplars: the mean vector of the images of each entity that a run has tagged."""
    from typing import cast

    from curator.curation.entities import harvest as gather
    from curator.entities.exemplars import Pool, write_exemplars
    from curator.entities.places import written

    if pool not in ("image", "image+text"):
        raise typer.BadParameter("choose image or image+text", param_hint="--pool")
    storage = storage_from(config, overrides)
    with written(output, storage) as path:
        exemplars = gather(
            run.rstrip("/"),
            storage,
            _encoder(run, config, overrides),
            column=column,
            pool=cast("Pool", pool),
            min_score=min_score,
            min_evidence=min_evidence,
            min_similarity=min_similarity,
        )
        write_exemplars(path, exemplars)
    total = int(exemplars.evidence.sum())
    console.print(f"{len(exemplars.ids)} entities from {total} tagged images in {output}", highlight=False)


@jobs.command("link")
def link(
    run: Run,
    exemplars: Annotated[str, typer.Option(help="A file of `curator entities harvest`: path or url")],
    output: Annotated[str, typer.Option("--output", "-o", help="The Parquet file of links and groups: path or url")],
    cutoff: Annotated[float, typer.Option(min=-1, max=1, help="Least cosine of a link, and within a new group")],
    most_new: Annotated[int, typer.Option(min=1, help="Rows without an exemplar at most")] = 100_000,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Link a run's rows to exemplars, and group those that are near to none (CLIPPINGS)."""
    from curator.curation.entities import link as connect
    from curator.entities.exemplars import read_exemplars
    from curator.entities.places import local_copy, written
    from curator.errors import ConfigError

    storage = storage_from(config, overrides)
    known, encoder = read_exemplars(local_copy(exemplars, storage)), _encoder(run, config, overrides)
    if known.encoder_digest != encoder.digest:
        raise ConfigError(f"{exemplars}: of another encoder than {run}; harvest them from a run of the same encoder")
    with written(output, storage) as path:
        done = connect(run.rstrip("/"), storage, known, encoder, path, cutoff=cutoff, most_new=most_new)
    console.print(
        f"{done.linked} rows linked, {done.grouped} in {done.groups} new groups, in {output}", highlight=False
    )
