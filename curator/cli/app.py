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
    from collections.abc import Mapping

    from curator.config import Config
    from curator.storage import Storage

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="curator",
    help="Label and curate image datasets at scale: WebDataset shards in, labelled Parquet out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `curator demo`. `curator help COMMAND` says what a command takes. "
    "Exit status: 0 done, 1 over a budget or faulty, 2 wrong settings, 130 or 143 interrupted.",
)

# Into a pipe or a file, a table is as wide as what it holds: nobody can use an url that is cut in two.
_PIPED_WIDTH = 1000
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH)
errors = Console(stderr=True)

_SETTINGS, _DATA, _SAID, RUN = "Settings", "Input and output", "What is said of images", "The run"


def option(*names: str, panel: str, help: str, **more: Any) -> Any:
    """An option under a heading of its own in the help."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


ConfigPath = Annotated[
    str | None, option("--config", "-c", panel=_SETTINGS, help="TOML file with the run's settings: a path or url")
]
Overrides = Annotated[
    list[str] | None,
    option("--set", panel=_SETTINGS, help="KEY.PATH=VALUE, over the config file, as in run.attempts=5; repeatable"),
]
_SHARDS = "path, url, {000..099} braces, glob, prefix or @list"
Shards = Annotated[
    list[str] | None,
    typer.Argument(help=f"Shards, as with --input: {_SHARDS}", metavar="SHARDS", show_default=False),
]
Inputs = Annotated[list[str] | None, option("--input", "-i", panel=_DATA, help=f"Shards: {_SHARDS}; repeatable")]
Output = Annotated[str | None, option("--output", "-o", panel=_DATA, help="Directory or s3:// prefix of the dataset")]
Salvage = Annotated[bool | None, option("--salvage", panel=_DATA, help="Keep what precedes the cut of a shard")]
Since = Annotated[str | None, option("--since", panel=_DATA, help="Only shards whose name sorts after this one")]
MaxShards = Annotated[int | None, option("--max-shards", panel=_DATA, help="At most so many shards in this run")]
VocabularyFile = Annotated[
    str | None,
    option("--vocabulary", panel=_SAID, help="Labels: a text file (a label a line), JSON or TOML, or builtin:style"),
]
TopK = Annotated[int | None, option("--top-k", panel=_SAID, help="Labels per image, with --vocabulary")]
_WORDS = "METHOD[,OPTION=VALUE…]; repeatable"
Free = Annotated[
    list[str] | None, option("--free", panel=_SAID, help=f"Labels without a vocabulary, e.g. cased: {_WORDS}")
]
Entities = Annotated[
    list[str] | None, option("--entities", panel=_SAID, help=f"Entity tags, e.g. mofi,gazetteer=G: {_WORDS}")
]
Score = Annotated[list[str] | None, option("--score", panel=_SAID, help=f"A score, e.g. clip_score: {_WORDS}")]
Backend = Annotated[str | None, option("--backend", panel=RUN, help="local | ray")]
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


def _version(wanted: bool) -> None:
    if wanted:
        import curator

        typer.echo(f"curator {curator.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every shard")] = False,
    log_format: LogFormat = None,
) -> None:
    if log_format != "json":
        logs.set_up(logs.LogSettings(logging.INFO if verbose else logging.WARNING))


@app.command("help", hidden=True)
def show_help(
    command: Annotated[list[str] | None, typer.Argument(help="A command, as in: help bank build")] = None,
) -> None:
    """Show what a command takes."""
    app([*(command or ()), "--help"], prog_name="curator")


def say(text: str, level: int = logging.WARNING) -> None:
    """Tell the user something beside the results: on standard error, or as a line of the log where that is JSON."""
    if logs.current().format == "json":
        logger.log(level, "%s", text)
    else:
        errors.print(redact_text(text), highlight=False, markup=False, soft_wrap=True)


def load(
    config: str | None,
    overrides: list[str] | None,
    inputs: list[str] | None,
    output: str | None,
    **sections: Mapping[str, Any],
) -> Config:
    """The settings of a config file, --set, and a command's own options, each over what precedes it."""
    from curator.api import load_config

    values: dict[str, Any] = {}
    if inputs:
        values["input"] = {"urls": inputs}
    if output:
        values["output"] = {"url": output}
    for section, settings in sections.items():
        given = {name: value for name, value in settings.items() if value is not None}
        if given:
            values.setdefault(section, {}).update(given)
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
