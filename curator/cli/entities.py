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
    output: Annotated[Path, typer.Option("--output", "-o", help="The gazetteer file")],
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
    from curator.entities.rules import Rules
    from curator.entities.rules import stop_words as stop_words_of

    rules = Rules(
        stop_words_of(() if stop_words is None else stop_words.read_text(encoding="utf-8").splitlines()),
        min_chars=min_chars,
        max_tokens=max_tokens,
        min_share=min_share,
        min_candidate_share=min_candidate_share,
        most_candidates=most_candidates,
    )
    skipped: Counter[str] = Counter()
    storage = storage_from(config, overrides)
    entities, facts = _source(source, storage, language or ["en"], without_type, separator, plurals, skipped)
    built = build_gazetteer(entities, output, rules, facts)
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
