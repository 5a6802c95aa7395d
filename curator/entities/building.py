"""Owns the building of a gazetteer from entities: keys, shares, what the rules leave out, and how much of it.

Knows no format of a source; reads each entity once, in order, and holds numbers and keys but no object for an alias.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import marisa_trie
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curator.entities.gazetteer import Content, texts_of, write
from curator.entities.rules import Rules
from curator.entities.text import Folder
from curator.errors import ConfigError

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class SourceEntity:
    """One entity as a source says it. ``aliases`` are (text, weight); the name, where not among them, has the weight 1.

    A mention of an alias means the entity with a share in proportion to ``prior`` times the alias' weight. A prior
    that a source does not know is 1.
    """

    entity_id: str
    name: str
    aliases: tuple[tuple[str, float], ...] = ()
    description: str = ""
    type: str = ""
    prior: float = 1.0


@dataclass
class Built:
    """What became of a source. ``dropped`` counts aliases by rule, ``unlikely`` among them counts single meanings."""

    digest: str
    entities: int
    aliases: int
    dropped: Counter[str] = field(default_factory=Counter)


def build(entities: Iterable[SourceEntity], path: Path, rules: Rules, source: Mapping[str, Any]) -> Built:
    """Write the gazetteer of ``entities`` to ``path``. ``source`` (as JSON) is kept in the file's facts.

    ConfigError for two entities with one id, for a name or prior that says nothing, and where nothing is left.
    """
    gathered = _Gathered(rules)
    for entity in entities:
        gathered.add(entity)
    dropped = gathered.dropped
    content = gathered.content()
    if not len(content.prior) or len(content.start) < 2:
        raise ConfigError(f"{source.get('url')}: no entity has an alias that the rules keep ({dict(dropped)})")
    aliases = len(content.start) - 1
    facts = {
        "source": dict(source),
        "rules": rules.settings(),
        "entities": len(content.prior),
        "aliases": aliases,
        "dropped": dict(sorted(dropped.items())),
    }
    return Built(write(path, content, facts), len(content.prior), aliases, dropped)


class _Gathered:
    """Entities and the meanings of their aliases, as numbers: alias key number, entity row, weight."""

    def __init__(self, rules: Rules) -> None:
        self.dropped: Counter[str] = Counter()
        self._rules = rules
        self._fold = Folder()
        self._texts: dict[str, _Texts] = {name: _Texts() for name in ("entity_id", "name", "description", "type")}
        self._priors = array("f")
        self._ids: set[bytes] = set()
        self._keys: dict[str, int] = {}
        self._key_of, self._entity_of, self._weight_of = array("I"), array("I"), array("f")

    def add(self, entity: SourceEntity) -> None:
        identity = entity.entity_id.encode()
        if not entity.entity_id or not entity.name.strip():
            raise ConfigError(f"entity {entity.entity_id!r} named {entity.name!r}: an entity needs an id and a name")
        if identity in self._ids:
            raise ConfigError(f"entity {entity.entity_id!r} stands in the source twice; merge the two")
        if not 0 < entity.prior < float("inf"):
            raise ConfigError(f"entity {entity.entity_id!r} has the prior {entity.prior}; it must be positive")
        self._ids.add(identity)
        row = len(self._priors)
        for name, texts in self._texts.items():
            texts.append(getattr(entity, name))
        self._priors.append(entity.prior)
        own: dict[int, float] = {}
        named = any(alias == entity.name for alias, _ in entity.aliases)
        for alias, weight in entity.aliases if named else ((entity.name, 1.0), *entity.aliases):
            number = self._number(alias)
            if number is not None:
                own[number] = max(own.get(number, 0.0), weight)
        for number, weight in own.items():
            self._key_of.append(number)
            self._entity_of.append(row)
            self._weight_of.append(weight * entity.prior)

    def _number(self, alias: str) -> int | None:
        key = self._fold.key(alias)
        number = self._keys.get(key)
        if number is None:
            reason = self._rules.why_not(key)
            if reason is not None:
                self.dropped[reason] += 1
                return None
            number = self._keys[key] = len(self._keys)
        return number

    def content(self) -> Content:
        """All that was added, after the rules that look at the meanings of an alias."""
        self._ids.clear()
        numbers, rows, shares = self._meanings()
        keys, self._keys = list(self._keys), {}
        used = np.unique(numbers)
        trie = marisa_trie.Trie(keys[number] for number in used.tolist())
        places = np.zeros(len(keys), np.uint32)
        places[used] = np.fromiter((trie[keys[number]] for number in used.tolist()), np.uint32, len(used))
        longest = max((len(keys[number]) for number in used.tolist()), default=0)
        aliases = places[numbers]
        order = np.lexsort((rows, -shares, aliases))
        start = np.searchsorted(aliases[order], np.arange(len(used) + 1)).astype(np.uint32)
        texts = {name: texts.array() for name, texts in self._texts.items()}
        prior = np.frombuffer(self._priors, np.float32)
        return Content(texts, prior, start, rows[order], shares[order], trie.tobytes(), longest)

    def _meanings(self) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float32]]:
        """Key number, entity row and share of every meaning that the rules keep."""
        rules, count = self._rules, len(self._keys)
        numbers = np.frombuffer(self._key_of, np.uint32).astype(np.int64)
        rows = np.frombuffer(self._entity_of, np.uint32)
        weights = np.frombuffer(self._weight_of, np.float32)
        shares = weights / np.bincount(numbers, weights, count)[numbers]
        order = np.lexsort((rows, -shares, numbers))
        numbers, rows, shares = numbers[order], rows[order], shares[order]
        firsts = np.searchsorted(numbers, np.arange(count))
        rank = np.arange(len(numbers)) - firsts[numbers]
        best = shares[firsts][numbers] if count else shares
        ambiguous = best < rules.min_share
        unlikely = ~ambiguous & ((shares < rules.min_candidate_share) | (rank >= rules.most_candidates))
        self.dropped.update({"ambiguous": int((ambiguous & (rank == 0)).sum()), "unlikely": int(unlikely.sum())})
        kept = ~ambiguous & ~unlikely
        numbers, rows, shares = numbers[kept], rows[kept], shares[kept]
        return numbers, rows, (shares / np.bincount(numbers, shares, count)[numbers]).astype(np.float32)


class _Texts:
    """A column of texts, moved into Arrow as it grows."""

    def __init__(self) -> None:
        self._done: list[pa.Array] = []
        self._open: list[str] = []

    def append(self, text: str) -> None:
        self._open.append(text)
        if len(self._open) >= _ROWS_AT_ONCE:
            self._close()

    def _close(self) -> None:
        self._done.append(texts_of(self._open))
        self._open = []

    def array(self) -> pa.Array:
        self._close()
        return pa.concat_arrays(self._done)
