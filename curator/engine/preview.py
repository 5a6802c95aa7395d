"""What a run would do and write and whether it may, before it does. Reads, loads no weights and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from curator.config import Config
from curator.data import ColumnSpec
from curator.engine.annotations import read_annotations
from curator.engine.compose import require_paths, storage_of
from curator.engine.encoders import embedding_column
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
    plan = replace(plan, todo=plan.todo[: config.input.max_shards])
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


def planned_columns(config: Config) -> tuple[int, list[ColumnSpec]]:
    """The size of a run's embeddings and the columns beside them, known before any weights are loaded. ConfigError."""
    from curator.encoder.sources import embedding_dim

    cache = Path(config.encoder.cache_dir) if config.encoder.cache_dir else None
    dims = {embedding_column(each.name).name: embedding_dim(each.encoder, cache) for each in config.encoders}
    columns = read_annotations(config, storage_of(config)).columns
    own = embedding_dim(config.encoder.name, cache)
    return own, [replace(each, size=dims[each.name]) if each.name in dims else each for each in columns]
