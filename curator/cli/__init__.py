"""The command line: wiring and exit codes. Imports torch, Ray and Arrow only inside the commands that need them."""

from __future__ import annotations

import logging
import os
import sys

from curator.cli import bank, bench, describe, entities, evaluate, measure, plan, prompts, runs, scores, show, vocab
from curator.cli.app import app, say
from curator.errors import ConfigError, CuratorError

__all__ = [
    "app",
    "bank",
    "bench",
    "describe",
    "entities",
    "evaluate",
    "main",
    "measure",
    "plan",
    "prompts",
    "runs",
    "scores",
    "show",
    "vocab",
]


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
