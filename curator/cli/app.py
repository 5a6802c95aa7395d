"""The typer application, the options that commands share, and how they become a Config. Holds no command."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from curator import logs
from curator.errors import ConfigError
from curator.storage.urls import redact_text

if TYPE_CHECKING:
    from curator.config import Config
    from curator.storage import Storage

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="curator",
    help="Label and curate image datasets at scale: WebDataset shards in, labelled Parquet out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

# Into a pipe or a file, a table is as wide as what it holds: nobody can use an url that is cut in two.
_PIPED_WIDTH = 1000
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH)
errors = Console(stderr=True)

ConfigPath = Annotated[
    str | None, typer.Option("--config", "-c", help="TOML file with the run's settings: a path or url")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE, over the config file; repeatable")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="Shards: path, url, {000..099} braces, glob, prefix or @list; repeatable"),
]
Output = Annotated[str | None, typer.Option("--output", "-o", help="Directory or s3:// prefix of the dataset")]
VocabularyFile = Annotated[
    str | None, typer.Option("--vocabulary", help="Labels: a text file (a label a line), JSON or TOML")
]
TopK = Annotated[int | None, typer.Option(help="Labels per image, with --vocabulary")]
_WORDS = "METHOD[,OPTION=VALUE…]; repeatable"
Free = Annotated[list[str] | None, typer.Option("--free", help=f"Labels without a vocabulary, e.g. cased: {_WORDS}")]
Entities = Annotated[list[str] | None, typer.Option("--entities", help=f"Entity tags, e.g. mofi,gazetteer=G: {_WORDS}")]
Score = Annotated[list[str] | None, typer.Option("--score", help=f"A score, e.g. clip_score: {_WORDS}")]
Backend = Annotated[str | None, typer.Option("--backend", help="local | ray")]
Salvage = Annotated[bool | None, typer.Option("--salvage", help="Keep what precedes the cut of a shard")]
Since = Annotated[str | None, typer.Option("--since", help="Only shards whose name sorts after this one")]
MaxShards = Annotated[int | None, typer.Option("--max-shards", help="At most so many shards in this run")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script")]


def _use_format(given: str | None) -> str | None:
    """What an option --log-format does, wherever it stands. A collector of JSON lines wants all of them."""
    if given == "json":
        logs.set_up(logs.LogSettings(logging.INFO, "json"))
    elif given == "text":
        logs.set_up(logs.LogSettings(logs.current().level))
    elif given is not None:
        raise typer.BadParameter(f"{given!r} is not one of text, json")
    return given


# Its callback does all: a command that takes it need not look at it.
LogFormat = Annotated[
    str | None,
    typer.Option("--log-format", envvar="CURATOR_LOG_FORMAT", callback=_use_format, help="text | json: one a line"),
]


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every shard")] = False,
    log_format: LogFormat = None,
) -> None:
    if log_format != "json":
        logs.set_up(logs.LogSettings(logging.INFO if verbose else logging.WARNING))


def say(text: str, level: int = logging.WARNING) -> None:
    """Tell the user something beside the results: on standard error, or as a line of the log where that is JSON."""
    if logs.current().format == "json":
        logger.log(level, "%s", text)
    else:
        errors.print(redact_text(text), highlight=False, markup=False, soft_wrap=True)


def load(
    config: str | None, overrides: list[str] | None, inputs: list[str] | None, output: str | None, **sections: Any
) -> Config:
    from curator.config import load_config

    values: dict[str, Any] = {}
    if inputs:
        values["input"] = {"urls": inputs}
    if output:
        values["output"] = {"url": output}
    for section, settings in sections.items():
        given = {name: value for name, value in settings.items() if value is not None}
        if given:
            values.setdefault(section, {}).update(given)
    if config is not None and "://" in config:
        from curator.engine.compose import fetch_config

        return fetch_config(config, overrides=overrides or (), values=values)
    return load_config(config, overrides=overrides or (), values=values)


def with_descriptions(
    settings: Config,
    vocabulary: str | None,
    top_k: int | None,
    free: list[str] | None,
    entities: list[str] | None,
    score: list[str] | None,
) -> Config:
    """The settings with what a command line says of how images are described, over what the config file says."""
    from curator.api import with_vocabulary
    from curator.config import with_annotators

    if top_k is not None and vocabulary is None:
        raise ConfigError("--top-k is for --vocabulary; of a label set in the config it is --set labels.0.top_k=…")
    if vocabulary is not None:
        settings = with_vocabulary(settings, vocabulary, **({} if top_k is None else {"top_k": top_k}))
    return with_annotators(settings, {"free": free or (), "entities": entities or (), "scores": score or ()})


def storage_from(config: str | None, overrides: list[str] | None) -> Storage:
    from curator.engine.compose import storage_of

    return storage_of(load(config, overrides, None, None))
