"""Owns the gazetteer file: entities, and a trie of the aliases that may mean them, mapped into memory.

One Arrow IPC file with one row, whose columns are lists of different lengths. Knows no source, caption or image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import marisa_trie
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curator.cache import replacing
from curator.entities.text import Folder
from curator.errors import ConfigError

FORMAT: Final = "curator-gazetteer-1"
_TEXTS: Final = ("entity_id", "name", "description", "type")
_NUMBERS: Final = {"prior": pa.float32(), "start": pa.uint32(), "entity": pa.uint32(), "share": pa.float32()}
_SCHEMA: Final = pa.schema(
    [
        *(pa.field(name, pa.large_list(pa.large_string()), nullable=False) for name in _TEXTS),
        *(pa.field(name, pa.large_list(type_), nullable=False) for name, type_ in _NUMBERS.items()),
        pa.field("trie", pa.large_binary(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity as the gazetteer knows it. ``prior`` is as its source gave it; ``type`` may be empty."""

    entity_id: str
    name: str
    description: str
    type: str
    prior: float


@dataclass(frozen=True, slots=True)
class Content:
    """What a gazetteer file is made of. ``texts`` has the entities' N texts by column, ``prior`` float32 [N].

    Alias a of ``trie`` (its key id) may mean the entities ``entity[start[a]:start[a + 1]]``, with shares of its
    mentions that sum to 1, the likeliest first.
    """

    texts: Mapping[str, pa.Array]
    prior: NDArray[np.float32]
    start: NDArray[np.uint32]
    entity: NDArray[np.uint32]
    share: NDArray[np.float32]
    trie: bytes
    longest: int


class Gazetteer:
    """An open gazetteer. ``digest`` identifies its content; ``facts`` say how it was built."""

    def __init__(self, row: pa.RecordBatch, facts: Mapping[str, Any]) -> None:
        self.digest: str = facts["digest"]
        self.facts = facts
        self.longest: int = facts["longest"]  # characters of the longest key
        self.trie = marisa_trie.Trie().frombytes(row.column("trie")[0].as_buffer().to_pybytes())
        self._texts = {name: row.column(name).values for name in _TEXTS}
        numbers = {name: row.column(name).values.to_numpy(zero_copy_only=True) for name in _NUMBERS}
        self._prior, self._start = numbers["prior"], numbers["start"]
        self._entity, self._share = numbers["entity"], numbers["share"]

    @classmethod
    def open(cls, path: Path) -> Gazetteer:
        """Map the file at ``path`` into memory. ConfigError where it is missing or is not a whole gazetteer."""
        try:
            source = pa.memory_map(str(path))
            reader = pa.ipc.open_file(source)
            facts = _facts(reader.schema, path)
            return cls(reader.get_batch(0), facts)
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no gazetteer here; make one with `curator gazetteer build`") from error
        except (pa.ArrowInvalid, OSError, RuntimeError) as error:
            raise ConfigError(f"{path}: not a whole gazetteer ({error}); build it or copy it again") from error

    def __len__(self) -> int:
        return len(self._prior)

    @property
    def aliases(self) -> int:
        return len(self._start) - 1

    def entity(self, row: int) -> Entity:
        text = {name: self._texts[name][row].as_py() for name in _TEXTS}
        return Entity(text["entity_id"], text["name"], text["description"], text["type"], float(self._prior[row]))

    def candidates(self, alias: int) -> list[tuple[int, float]]:
        """The entities (rows) that an alias (its id in the trie) may mean, and their shares, the likeliest first."""
        start, end = int(self._start[alias]), int(self._start[alias + 1])
        return list(zip(self._entity[start:end].tolist(), self._share[start:end].tolist(), strict=True))

    def find(self, alias: str) -> list[tuple[int, float]]:
        """``candidates`` of an alias as a user writes it; empty where the gazetteer has none."""
        alias_id = self.trie.get(Folder().key(alias))
        return [] if alias_id is None else self.candidates(alias_id)


def write(path: Path, content: Content, facts: Mapping[str, Any]) -> str:
    """Write the file at ``path`` (replacing what is there when it is whole) and return its digest.

    ``facts`` (how it was built, as JSON) are kept in it. The digest is of the content alone.
    """
    values: dict[str, pa.Array] = dict(content.texts)
    for name, type_ in _NUMBERS.items():
        values[name] = pa.array(getattr(content, name), type_)
    digest = _digest(values, content.trie)
    described = {**facts, "digest": digest, "longest": content.longest}
    columns = [
        *(pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), array) for array in values.values()),
        pa.array([content.trie], pa.large_binary()),
    ]
    schema = _SCHEMA.with_metadata({"format": FORMAT, "facts": json.dumps(described, sort_keys=True)})
    with replacing(path) as part, pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return digest


def facts_at_head(head: bytes, where: str) -> Mapping[str, Any]:
    """The facts of a gazetteer from the first bytes of its file. ConfigError where they are of something else."""
    try:
        return _facts(pa.ipc.read_schema(pa.py_buffer(head[8:])), where)
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigError(f"{where}: not a gazetteer ({error}); make one with `curator gazetteer build`") from error


def check(path: Path) -> None:
    """ConfigError unless the content at ``path`` is what its digest says."""
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            row = reader.get_batch(0)
            values = {name: row.column(name).values for name in (*_TEXTS, *_NUMBERS)}
            found = _digest(values, row.column("trie")[0].as_buffer().to_pybytes())
            expected = _facts(reader.schema, path)["digest"]
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise ConfigError(f"{path}: not a whole gazetteer ({error}); build it or copy it again") from error
    if found != expected:
        raise ConfigError(f"{path}: its content has the digest {found}, not {expected}; copy or build it again")


def _facts(schema: pa.Schema, where: Path | str) -> Mapping[str, Any]:
    metadata = schema.metadata or {}
    if metadata.get(b"format") != FORMAT.encode():
        raise ConfigError(f"{where}: not a gazetteer ({FORMAT}); make one with `curator gazetteer build`")
    facts: dict[str, Any] = json.loads(metadata[b"facts"])
    return facts


def _digest(values: Mapping[str, pa.Array], trie: bytes) -> str:
    digest = hashlib.sha256(FORMAT.encode())
    for name, array in values.items():
        digest.update(f"{name} {len(array)}\n".encode())
        for buffer in array.buffers()[1:]:
            digest.update(memoryview(buffer))
    digest.update(trie)
    return digest.hexdigest()


def texts_of(rows: Sequence[str]) -> pa.Array:
    return pa.array(rows, pa.large_string())
