"""The command line: wiring and exit codes. Imports torch, Ray and Arrow only inside the commands that need them."""

from __future__ import annotations

import sys

from curator.cli import bench, describe, measure, prompts, runs, show, vocab
from curator.cli.app import app, errors
from curator.errors import ConfigError, CuratorError

__all__ = ["app", "bench", "describe", "main", "measure", "prompts", "runs", "show", "vocab"]


def main() -> None:
    """Entry point of the ``curator`` command: verdicts become exit codes, the unforeseen keeps its traceback."""
    try:
        app()
    except ConfigError as error:
        errors.print(f"curator: {error}", highlight=False, markup=False)
        sys.exit(2)
    except CuratorError as error:
        errors.print(f"curator: {error}", highlight=False, markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("curator: interrupted; run the same command again to resume", highlight=False)
        sys.exit(130)
