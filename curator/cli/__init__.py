"""The command line: wiring and exit codes. Imports torch, Ray and Arrow only inside the commands that need them."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from curator.cli import (
    bank,
    bench,
    describe,
    entities,
    evaluate,
    measure,
    pack,
    plan,
    prompts,
    runs,
    scores,
    show,
    vocab,
)
from curator.cli.app import app, say
from curator.errors import ConfigError, CuratorError

if TYPE_CHECKING:
    from typer.models import CommandInfo, TyperInfo

__all__ = [
    "app",
    "bank",
    "bench",
    "describe",
    "entities",
    "evaluate",
    "main",
    "measure",
    "pack",
    "plan",
    "prompts",
    "runs",
    "scores",
    "show",
    "vocab",
]


_PANELS = {
    "Label images": ("demo", "pack", "plan", "label", "retry", "relabel"),
    "Look at a run": ("status", "wait", "verify", "schema", "eval", "concepts", "percentiles", "rules"),
    "Prepare": ("encoders", "describe", "vocab", "prompts", "bank", "gazetteer", "entities", "calibrate", "head"),
    "Measure the machine": ("bench",),
}


def _arrange() -> None:
    """The commands in the order in which a newcomer meets them, under a heading each."""
    order = [name for names in _PANELS.values() for name in names]
    panels = {name: panel for panel, names in _PANELS.items() for name in names}
    listed: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for each in listed:
        each.rich_help_panel = None if each.hidden else panels[_name_of(each)]
    app.registered_commands.sort(key=lambda each: -1 if each.hidden else order.index(_name_of(each)))
    app.registered_groups.sort(key=lambda each: order.index(_name_of(each)))


def _name_of(command: CommandInfo | TyperInfo) -> str:
    return str(command.name or getattr(command.callback, "__name__", ""))


_arrange()


def main() -> None:
    """Entry point of the ``curator`` command: verdicts become exit codes, the unforeseen keeps its traceback."""
    try:
        app()
    except SystemExit as left:
        if left.code in (130, 143):
            _leave(left.code)
        raise
    except ConfigError as error:
        say(f"curator: {error}", logging.ERROR)
        sys.exit(2)
    except CuratorError as error:
        say(f"curator: {error}", logging.ERROR)
        sys.exit(1)
    except KeyboardInterrupt:
        say("curator: interrupted; run the same command again to resume")
        sys.exit(130)


def _leave(status: int) -> None:
    """Leave after a signal. Threads of native code may still be at work, and would make the ordinary exit an abort."""
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
