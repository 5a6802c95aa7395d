"""Waits for a run that another process drives: for its summary, or for the signs that none will come.

Reads the ledger and the lock of an output, and changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from curator.engine.ledger import Ledger
from curator.engine.lock import Holder, holder_of
from curator.errors import CuratorError
from curator.storage import Storage

logger = logging.getLogger(__name__)

_UNFINISHED = ("stopped", "fleet_lost")


class EndedError(CuratorError):
    """The run is over, and has left no summary."""


class WaitedError(CuratorError):
    """The time to wait is over, and the run is not."""


def wait_for_run(
    output: str,
    storage: Storage,
    *,
    run_id: str | None = None,
    timeout_s: float,
    poll_s: float = 5.0,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """The summary of the newest run, once it has ended, or of the run with ``run_id``, which may have yet to begin.

    A run under way is newer than any summary. EndedError where its driver is dead (its lock has not been renewed for
    twice the lock's time) or gone without a summary; WaitedError after ``timeout_s``. Both say what was seen last.
    """
    ledger = Ledger(storage, output)
    began = clock()
    seen: Holder | None = None
    dead_since: float | None = None
    while True:
        holder = holder_of(storage, ledger.root, clock=clock)
        theirs = holder is not None and run_id is not None and holder.run_id != run_id
        summary = ledger.summary(run_id)
        if summary is not None and (run_id is not None or holder is None or not holder.alive):
            return summary
        now = clock()
        if holder is None or theirs:
            if seen is not None:
                raise EndedError(f"{output}: {_named(seen)} ended without a summary; its log says why")
            dead_since = None
        elif holder.alive:
            seen, dead_since = holder, None
        else:
            dead_since = now if dead_since is None else dead_since
            if now - dead_since >= holder.ttl_s:
                raise EndedError(
                    f"{output}: {_named(holder)} was last heard of {holder.age_s:.0f} s ago and left no summary; "
                    "start the same run again, it resumes"
                )
        if now - began >= timeout_s:
            raise WaitedError(f"{output}: {_unfinished(run_id)} within {timeout_s:g} s: {_state(holder)}")
        sleep(min(poll_s, max(0.0, began + timeout_s - now)))


def standing(output: str, storage: Storage) -> str:
    """In a few words, whether a run is at work on an output, or how the last one ended."""
    ledger = Ledger(storage, output)
    holder, summary = holder_of(storage, ledger.root), ledger.summary()
    if holder is not None and holder.alive:
        return f"{_named(holder)} is at work"
    if summary is not None:
        return f"{summary['status']}, ended {summary['ended']}"
    return "interrupted: no run is at work, and the last one left no summary; run the same command again to resume"


def warn_unless_ended(output: str, storage: Storage) -> None:
    """Say that what is read of a run is a part of it, where the run was interrupted or is still at work."""
    ledger = Ledger(storage, output)
    if ledger.run() is None:  # no run at all: its reader knows what to say of that
        return
    summary = ledger.summary()
    if summary is None or summary["status"] in _UNFINISHED:
        logger.warning(
            "%s: not all of this run is there (%s): only its parts so far are read", output, standing(output, storage)
        )


def _named(holder: Holder) -> str:
    run = "the run" if holder.run_id is None else f"run {holder.run_id}"
    return f"{run} (host {holder.host}, pid {holder.pid})"


def _unfinished(run_id: str | None) -> str:
    return "no run has ended" if run_id is None else f"run {run_id} has not ended"


def _state(holder: Holder | None) -> str:
    if holder is None:
        return "no driver works on this output"
    return f"{_named(holder)} {'is at work' if holder.alive else 'does not answer'}"
