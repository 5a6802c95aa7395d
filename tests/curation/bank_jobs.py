"""Small banks built for tests: captions in files, a config over the tiny encoder, and a build that shares it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from curator.captions import BankFacts, CaptionBank
from curator.config import Config
from curator.curation.bank import BankPlan, BankSettings, build, build_config, wire_bank
from curator.curation.bank_sources import Reading
from curator.curation.bank_text import known_encoding
from curator.engine.backends.local import LocalFleet
from curator.engine.compose import storage_of
from curator.engine.progress import Summary
from curator.storage import Storage
from tests.run.jobs import open_encoder

COLOURS = ["red", "green", "blue", "black", "white"]
THINGS = ["dog", "cat", "house", "tree", "boat", "cloud", "chair"]
CAPTIONS = [f"a {colour} {thing}, number {n}" for n in range(4) for colour in COLOURS for thing in THINGS]


def bank_config(
    captions: str | Path | list[str], encoder: Path, output: str | Path, cache: Path, **sections: Any
) -> Config:
    run = {"backoff_s": 0.02, "heartbeat_s": 0.2, "grace_s": 5.0, "attempts": 2, **sections.pop("run", {})}
    return Config.model_validate(
        {
            "input": {"urls": captions if isinstance(captions, list) else [str(captions)], **sections.pop("input", {})},
            "output": {"url": str(output)},
            "encoder": {"name": f"local-dir:{encoder}", "precision": "float32", "cache_dir": str(cache)},
            "run": run,
            **sections,
        }
    )


def run(
    config: Config,
    settings: BankSettings | None = None,
    *,
    storage: Storage | None = None,
    **options: Any,
) -> tuple[Summary, BankFacts | None]:
    """``build`` around an encoder that all tests of the process share."""
    settings = settings or BankSettings(lease_bytes=600)
    encoder = open_encoder(config.encoder.name)
    inner = build_config(config)
    plan = BankPlan(inner, Reading(settings.column, config.input.caption, known_encoding(settings.encoding)))
    fleet = LocalFleet(lambda: wire_bank(plan, encoder, storage or storage_of(config)), in_flight=inner.run.in_flight)
    return build(config, settings, fleet=fleet, storage=storage, **options)


def built(config: Config, settings: BankSettings | None = None, **options: Any) -> BankFacts:
    summary, facts = run(config, settings, **options)
    assert summary.status == "complete", summary.message
    assert facts is not None
    return facts


def texts(config: Config, storage: Storage | None = None) -> list[str]:
    bank = CaptionBank.open(config.output.url, storage or storage_of(config), config.encoder.cache_dir)
    return bank.texts(np.arange(len(bank)))
