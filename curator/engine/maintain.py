"""What is done with an output after (or between) its runs: status, verify, retry. Reads the ledger and the parts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from curator.config import Config, load_config
from curator.engine.ledger import Ledger, version_of
from curator.engine.progress import Progress, Summary, Totals
from curator.engine.run import ignore_progress, label
from curator.engine.wait import standing
from curator.errors import ConfigError
from curator.storage import Storage
from curator.storage.urls import absolute
from curator.tables.readers import open_part, part_url, parts
from curator.tables.verify import verify_part


@dataclass(frozen=True, slots=True)
class Status:
    """Where an output stands, from its ledger alone. ``state`` says whether a run is at work, or how it ended."""

    output: str
    state: str
    run: dict[str, Any]
    totals: dict[str, Any]
    quarantined: Sequence[dict[str, Any]]
    summary: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "state": self.state,
            "run": self.run,
            "totals": self.totals,
            "quarantined": list(self.quarantined),
            "summary": self.summary,
        }


class Start(Protocol):
    """What begins (or resumes) a run: ``label``, or another kind of work."""

    def __call__(
        self, config: Config, *, observe: Callable[[Progress], None], stop: threading.Event | None
    ) -> Summary: ...


def read_status(output: str, storage: Storage) -> Status:
    """Totals over the receipts, and the dead letters. ConfigError where no run has begun."""
    ledger = Ledger(storage, output)
    run = ledger.begun()
    totals = Totals()
    for receipt in ledger.receipts():
        totals.add(receipt)
    state, letters = standing(output, storage), tuple(ledger.quarantined().values())
    return Status(output, state, run, totals.to_dict(), letters, ledger.summary())


def verify_output(output: str, storage: Storage) -> Iterator[tuple[str, list[str]]]:
    """Check every shard that is done: yields (shard url, problems), an empty list for a sound one.

    One sample in, one row out; the part is readable, has the run's schema and as many rows as the receipt says, its
    sample ids follow from shard and keys, and its digests are the run's. A part without a receipt is a problem, too.
    The last sentence about a faulty shard says which file to delete, and which run to resume, so that it is done anew.
    """
    ledger = Ledger(storage, output)
    run = ledger.begun()
    digests, resume = run["digests"], _resume(run, output)
    receipts = set()
    schema = None
    for receipt in ledger.receipts():
        receipts.add(receipt.part)
        url = part_url(output, receipt.shard_id)
        problems = verify_part(url, storage, schema=schema, rows=receipt.rows, shard_url=receipt.url)
        if receipt.rows != receipt.samples:
            problems.append(f"{receipt.samples} samples in, {receipt.rows} rows out")
        if not problems:
            with open_part(url, storage) as part:
                schema = schema or part.schema
                problems = [
                    f"footer says {name} is {part.footer.get(name)!r}, the run was begun with {digest!r}"
                    for name, digest in digests.items()
                    if part.footer.get(name) != digest
                ]
        if problems:
            receipt_url = ledger.receipt_url(receipt.shard_id, version_of(receipt.size, receipt.etag))
            problems.append(f"to make it anew, delete its receipt {receipt_url} and {resume}")
        yield receipt.url, problems
    for entry in parts(output, storage):
        if entry.url.rsplit("/", 1)[-1] not in receipts:
            yield entry.url, [f"a part without a receipt: its shard is not done; {resume}"]


def _resume(run: dict[str, Any], output: str) -> str:
    """How to resume the run that wrote ``output``: by which command, and from what, where that is another run."""
    source = run["settings"]["input"].get("run")
    if not source:
        return f"run `curator label` again with the settings that wrote {output}"
    return f"run `curator relabel {source}` again with the settings that wrote {output}, a relabelling of {source}"


def retry(
    output: str,
    storage: Storage,
    *,
    reasons: Sequence[str] = (),
    overrides: Callable[[Config], Config] = lambda config: config,
    observe: Callable[[Progress], None] = ignore_progress,
    stop: threading.Event | None = None,
    start: Start = label,
) -> Summary:
    """Try again what was given up: quarantined shards, and the shards that hold samples rejected for ``reasons``.

    The settings are those that the run was begun with, after ``overrides`` (which may change how work is done, not what
    shapes the rows: an image limit or a number of attempts, say). ``start`` is what the run was begun by.
    """
    ledger = Ledger(storage, output)
    config = overrides(load_config(values=ledger.begun()["settings"]))
    done = ledger.done() if reasons else {}
    known: Counter[str] = Counter()
    hit = []
    for receipt in ledger.receipts(done):
        known.update(receipt.reasons)
        if any(reason in receipt.reasons for reason in reasons):
            hit.append(receipt)
    unknown = [reason for reason in reasons if reason not in known]
    if unknown:
        raise ConfigError(f"{output}: no sample is rejected for {unknown[0]!r}; there are {', '.join(known) or 'none'}")
    dead = ledger.quarantined()
    if not dead and not hit:
        raise ConfigError(f"{output}: nothing is quarantined")
    for shard_id in dead:
        ledger.release(shard_id)
    for receipt in hit:
        ledger.drop_receipts(receipt.shard_id, done[receipt.shard_id])
    urls = [*(letter["url"] for letter in dead.values()), *(receipt.url for receipt in hit)]
    settings = config.model_dump()
    settings["output"]["url"] = absolute(output)  # where it is now, which need not be where it was begun
    settings["input"] |= {"urls": tuple(urls), "since": None, "max_shards": None, "partial": True}
    settings["run"] |= {"prune": False, "id": None}
    return start(Config.model_validate(settings), observe=observe, stop=stop)
