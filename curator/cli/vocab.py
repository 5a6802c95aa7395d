"""The ``vocab`` commands: vocabulary files made from other sources. Wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.app import ConfigPath, Overrides, app, console, storage_from
from curator.cli.prompts import SaveTo, save

vocab = typer.Typer(help="Make vocabulary files.", no_args_is_help=True)
app.add_typer(vocab, name="vocab")


@vocab.callback()
def _group() -> None:
    """Make vocabulary files."""


@vocab.command("from-wordnet")
def from_wordnet(
    folder: Annotated[Path, typer.Argument(help="WordNet's dict directory (Debian: /usr/share/wordnet)")],
    out: SaveTo,
    root: Annotated[str | None, typer.Option(help="Take the branch under this noun")] = None,
    sense: Annotated[int, typer.Option(min=1, help="Which sense of the root; 1 is the most frequent")] = 1,
    words: Annotated[
        Path | None, typer.Option(help="Or: these labels, a line each, and what they are kinds of")
    ] = None,
    depth: Annotated[int, typer.Option(min=0, help="Levels below the root, or above the words")] = 3,
    most: Annotated[int, typer.Option(min=1, help="Labels of a branch at most")] = 1000,
) -> None:
    """Write a vocabulary with ids, aliases and parents from WordNet's nouns."""
    from curator.errors import ConfigError
    from curator.labels.taxonomy import branch, with_ancestors
    from curator.labels.vocabulary import Vocabulary
    from curator.wordnet.files import WordNet

    if (root is None) == (words is None):
        raise ConfigError("give either --root NOUN or --words FILE")
    wordnet = WordNet(folder)
    if root is not None:
        made = branch(wordnet, root, sense=sense, depth=depth, most=most)
    else:
        made = with_ancestors(wordnet, Vocabulary.load(str(words)).names, depth=depth)
    save(out, made)
    console.print(f"{len(made['labels'])} labels in {out}", highlight=False)


@vocab.command("from-free")
def from_free(
    run: Annotated[str, typer.Argument(help="The output of a run with free labels")],
    out: SaveTo,
    label_set: Annotated[str | None, typer.Option(help="Which free labels, where the run has several")] = None,
    ranks: Annotated[int, typer.Option(min=1, help="Count so many of each image's labels, the best first")] = 1,
    min_count: Annotated[int, typer.Option(min=1, help="Leave out what occurs less often")] = 5,
    synonyms: Annotated[bool, typer.Option("--merge-synonyms", help="Merge words of one sense in WordNet")] = False,
    cosine: Annotated[
        float | None, typer.Option("--merge-cosine", min=0.0, max=1.0, help="Merge words that the encoder sets so near")
    ] = None,
    config: ConfigPath = None,
    overrides: Overrides = None,
) -> None:
    """Write a vocabulary of the free labels that a run found often: from an unknown bucket to a label set."""
    from curator.console import rows_table
    from curator.curation.free_vocabulary import vocabulary_from_free
    from curator.free.merging import vocabulary_of

    concepts = vocabulary_from_free(
        run, storage_from(config, overrides),
        label_set=label_set, ranks=ranks, min_count=min_count, synonyms=synonyms, cosine=cosine,
    )  # fmt: skip
    save(out, vocabulary_of(concepts))
    shown = [(concept.name, concept.count, ", ".join(concept.aliases)) for concept in concepts[:20]]
    console.print(rows_table("The most frequent", ["label", "images" if ranks == 1 else "labels", "with"], shown))
    then = f"curator relabel {run} --output NEW --vocabulary {out}"
    console.print(f"{len(concepts)} labels in {out}; {then}", highlight=False, markup=False, soft_wrap=True)
