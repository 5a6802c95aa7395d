"""How a run ended, as its summary says it: totals over the output's receipts, budgets, and runs that had ended before.

Reads the ledger and knows no worker; whoever ran decides when a summary is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from curator.config import Config
from curator.engine.ledger import Ledger, Plan
from curator.engine.progress import Summary, Totals


def summarize(
    config: Config,
    ledger: Ledger,
    plan: Plan,
    config_digest: str,
    status: str,
    message: str,
    now: Totals,
    elapsed_s: float,
    **times: float | None,
) -> Summary:
    """The summary of a run that ended with ``status``; one that is complete may still turn out to be over budget."""
    done = ledger.done()
    totals = Totals()
    for receipt in ledger.receipts(done):
        totals.add(receipt)
    letters = list(ledger.quarantined().values())
    if status == "complete":
        status, message = _judge(config, totals, len(letters), message)
    return Summary(
        output=config.output.url,
        status=status,
        exit_status=0 if status == "complete" else 1,
        message=message,
        shards={
            "manifest": plan.done + len(plan.todo) + len(plan.quarantined),
            "done": len(done),
            "quarantined": len(letters),
            "vanished": len(plan.vanished),
        },
        totals=totals.to_dict(),
        this_run=now.to_dict(),
        elapsed_s=elapsed_s,
        config_digest=config_digest,
        run_id=config.run.id,
        ended=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **times,
        quarantined=tuple({"url": letter["url"], "reason": letter["reason"]} for letter in letters),
    )


def note_samples(summary: Summary, config: Config, readers: Sequence[str]) -> Summary:
    """The summary, with a word on what of the samples nobody looked at: a caption or image under another name.

    ``readers`` are those that read captions.
    """
    rows, notes = summary.totals["rows"], []
    if readers and rows and not summary.totals["captioned"]:
        notes.append(
            f"none of {rows} samples has a caption (input.caption = {config.input.caption!r}): nothing to read for "
            f"{', '.join(readers)}"
        )
    if several := summary.totals["several_images"]:
        chosen = f"is {config.input.image!r}" if config.input.image else "is the first of each"
        notes.append(
            f"{several} of {rows} samples hold images beside the one that was labelled, which {chosen}; input.image "
            "names another by its extension, such as png or left.jpg"
        )
    return replace(summary, message="; ".join([*([summary.message] if summary.message else []), *notes]))


def _judge(config: Config, totals: Totals, quarantined: int, message: str) -> tuple[str, str]:
    """Over budget, or complete."""
    run = config.run
    shards = totals.shards + quarantined
    if quarantined > run.quarantine_budget * shards:
        return "over_budget", (
            f"{quarantined} of {shards} shards are quarantined (budget {run.quarantine_budget:.2%}): "
            f"see `curator status {config.output.url}`; `curator retry` with the same output tries them again"
        )
    if totals.rejected > run.reject_budget * totals.samples:
        return "over_budget", (
            f"{totals.rejected} of {totals.samples} samples are rejected (budget {run.reject_budget:.2%}): "
            f"see `curator status {config.output.url}`, or raise run.reject_budget"
        )
    return "complete", message


def finished_before(ledger: Ledger, run_id: str | None) -> Summary | None:
    """What is said of a run whose id has been completed before: nothing is done a second time. None for any other."""
    recorded = None if run_id is None else ledger.summary(run_id)
    if recorded is None or recorded["status"] != "complete":
        return None
    message = f"run {run_id} was completed {recorded['ended']}: nothing is done for it again"
    nothing = Totals().to_dict()
    return Summary(**{**recorded, "message": message, "this_run": nothing, "elapsed_s": 0.0, "startup_s": None})
