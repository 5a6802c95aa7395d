"""What a run would do and whether it may: the plan of a Work against its output. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from curator.config import Config
from curator.engine.compose import require_paths, storage_of
from curator.engine.ledger import Ledger, Plan
from curator.engine.run import Work, label_work, read_plan
from curator.engine.secrets import refuse_secret_settings
from curator.errors import ConfigError
from curator.storage import Storage


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan with the urls of what it has as ids. ``refused`` is why the run would not begin, None where it would."""

    plan: Plan
    quarantined: tuple[str, ...]
    changed: tuple[str, ...]
    vanished: tuple[str, ...]
    refused: str | None


def preview_label(config: Config) -> Preview:
    """What ``label`` would do. ConfigError where the settings themselves are wrong."""
    require_paths(config)
    storage = storage_of(config)
    return preview(label_work(config, storage), config, storage)


def preview(work: Work, config: Config, storage: Storage) -> Preview:
    refuse_secret_settings(config)
    ledger = Ledger(storage, config.output.url)
    refused = None
    try:
        ledger.check_run({"config_digest": work.config_digest}, work.shaping)
    except ConfigError as error:
        refused = str(error)
    plan = read_plan(config, work.manifest(), ledger)
    letters = ledger.quarantined() if plan.quarantined else {}
    return Preview(
        plan,
        tuple(letters[shard_id]["url"] for shard_id in plan.quarantined),
        _urls(ledger, ((shard_id, versions[0]) for shard_id, versions in plan.stale.items())),
        _urls(ledger, ((shard_id, versions[0]) for shard_id, versions in plan.vanished.items())),
        refused,
    )


def _urls(ledger: Ledger, receipts: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The shards of some receipts, by url, from those receipts: the input may no longer name them."""
    wanted = {shard_id: (version,) for shard_id, version in receipts}
    return tuple(sorted(receipt.url for receipt in ledger.receipts(wanted)))
