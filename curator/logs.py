"""How log lines look: text or one JSON object a line, with the run, the shard and the attempt, and without secrets.

Knows no room: who logs, logs as always; this decides what becomes of it in this process.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TextIO

from curator.storage.urls import redact_text

_SHARD: ContextVar[dict[str, Any] | None] = ContextVar("curator_shard", default=None)
_TEXT = "%(asctime)s %(levelname)s %(message)s"
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a process logs and how. ``run`` is the output of the run that it works for. Picklable, for workers."""

    level: int = logging.WARNING
    format: Literal["text", "json"] = "text"
    run: str | None = None


_current = LogSettings()


def current() -> LogSettings:
    """The settings in force, with the level that ``curator``'s loggers really have, whoever set it."""
    return replace(_current, level=logging.getLogger("curator").getEffectiveLevel())


def set_up(settings: LogSettings) -> None:
    """Log to standard error as ``settings`` say. Handlers that others have put in stay as they are."""
    global _current
    _current = settings
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _Handler):
            break
    else:
        handler = _Handler()
        root.addHandler(handler)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter(_TEXT))
    root.setLevel(settings.level)
    logging.captureWarnings(settings.format == "json")


def name_run(output: str) -> None:
    """From here on every JSON line says which run it is of."""
    global _current
    _current = replace(_current, run=output)


@contextlib.contextmanager
def of_shard(url: str, attempt: int) -> Iterator[None]:
    """Lines logged in this thread belong to one attempt at a shard."""
    token = _SHARD.set({"shard": url, "attempt": attempt})
    try:
        yield
    finally:
        _SHARD.reset(token)


class TextFormatter(logging.Formatter):
    """Lines for people. Control characters from a name in a shard reach no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record).translate(_CONTROLS))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, run, and what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if _current.run is not None:
            line["run"] = _current.run
        line |= _SHARD.get() or {}
        line |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({name: _clean(value) for name, value in line.items()}, default=str)


def _clean(value: Any) -> Any:
    return redact_text(value) if isinstance(value, str) else value


class Printed(io.TextIOBase):
    """Stands in for standard output while lines of the log may stand alone: what libraries print becomes such lines."""

    def __init__(self) -> None:
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                logging.getLogger("stdout").info("%s", line)
        return len(text)


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:  # it is generic at run time from Python 3.11 on
    _StreamHandler = logging.StreamHandler


class _Handler(_StreamHandler):
    """Writes to what standard error is at the time of the line."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr
