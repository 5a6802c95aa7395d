"""Owns what a caption bank's ``bank.json`` says, the names of its files and the digest of its content. Opens no vector.

Layout of a bank (a directory or prefix): ``bank.json``, ``vectors-<digest>.npy`` (float16 [N, D], unit rows),
``texts-<digest>.arrow`` (Arrow IPC file, one column ``text``), and with an index ``index-<digest>.faiss``.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from curator.errors import ConfigError, NotFoundError
from curator.storage.base import Storage
from curator.storage.urls import join, redact

FORMAT: Final = 1
FACTS: Final = "bank.json"
BUILD: Final = "_build"
EMBEDDED: Final = "embedded"
EMBEDDED_DIRECTORY: Final = Path(__file__).parent / "embedded"
_LEFT_OUT: Final = {"undecodable": "not in the encoding", "too_long": "longer than 1 MiB"}
TEXT_ROWS: Final = 65_536
"""Rows of a record batch of the texts."""


@dataclass(frozen=True, slots=True)
class BankFile:
    """One file of a bank. ``sha256`` in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """An approximate index: its FAISS factory string, how it is searched, and its recall@10 against exact search."""

    kind: str
    factory: str
    file: BankFile
    search: Mapping[str, int]
    recall_at_10: float
    queries: int


@dataclass(frozen=True, slots=True)
class BankFacts:
    """What is known of a bank without its vectors.

    ``digest`` identifies encoder, precision and texts in their order, whoever built it and in how many attempts; the
    vectors follow from these (their bytes, which may differ in a last bit between machines, have the digest in
    ``vectors``). ``captions`` counts what was read: ``read``, ``empty``, ``duplicate``, and of what was left out since
    it is no text ``undecodable`` and ``too_long``, of which ``first_left_out`` says where the first stand.
    """

    digest: str
    encoder: str
    encoder_digest: str
    precision: str
    dim: int
    count: int
    vectors: BankFile
    texts: BankFile
    captions: Mapping[str, int] = field(default_factory=dict)
    first_left_out: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    sources_digest: str = ""
    config_digest: str = ""
    curator: str = ""
    index: IndexFacts | None = None

    def to_json(self) -> bytes:
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n").encode(
            "utf-8", "backslashreplace"
        )

    @property
    def files(self) -> tuple[BankFile, ...]:
        return (self.vectors, self.texts, *((self.index.file,) if self.index else ()))


def counts_told(counts: Mapping[str, int], first: Mapping[str, str]) -> str:
    """``captions`` and ``first_left_out`` of ``BankFacts`` in words."""
    parts = [f"{counts.get('read', 0):,} read", f"{counts.get('empty', 0):,} empty"]
    parts.append(f"{counts.get('duplicate', 0):,} duplicate")
    parts += [
        f"{counts[kind]:,} {words} (the first: {first[kind]})" for kind, words in _LEFT_OUT.items() if counts.get(kind)
    ]
    return ", ".join(parts)


def normalise(text: str) -> str:
    """The caption as it is kept and compared: Unicode NFC, runs of white space to one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def text_key(text: str) -> bytes:
    """16 bytes that stand for a normalised caption: two with the same key are taken for one."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def content_digest(encoder_digest: str, precision: str, dim: int, keys: bytes) -> str:
    """64 hex digits for a bank of the captions whose keys ``keys`` are, in order."""
    head = json.dumps({"format": FORMAT, "encoder": encoder_digest, "precision": precision, "dim": dim})
    return hashlib.sha256(head.encode() + b"\n" + keys).hexdigest()


def bank_url(url: str) -> str:
    """Where the bank lies that a user calls ``url``; ``embedded`` is the one in the package."""
    return str(EMBEDDED_DIRECTORY) if url == EMBEDDED else url.rstrip("/")


def read_facts(url: str, storage: Storage) -> BankFacts:
    """What ``bank.json`` at ``url`` says. ConfigError, with the way out, where there is no finished bank."""
    place = bank_url(url)
    shown = redact(place)
    try:
        told = json.loads(storage.read(join(place, FACTS)))
    except NotFoundError as error:
        begun = next(iter(storage.list(join(place, BUILD) + "/")), None) is not None
        way = (
            "its build was begun and not finished: run the same `curator bank build` again"
            if begun
            else "give the output of `curator bank build`, or embedded"
        )
        raise ConfigError(f"{shown}: holds no caption bank (no {FACTS}); {way}") from error
    except ValueError as error:
        raise ConfigError(f"{join(shown, FACTS)}: is not JSON ({error}); build the bank again") from error
    return facts_from(told, join(shown, FACTS))


def facts_from(told: Any, shown: str) -> BankFacts:
    try:
        values = dict(told)
        version = values.pop("format")
        if version != FORMAT:
            raise ConfigError(f"{shown}: has format {version}, this Curator reads {FORMAT}; upgrade it or build again")
        index = values["index"]
        values["index"] = None if index is None else IndexFacts(**{**index, "file": BankFile(**index["file"])})
        values |= {name: BankFile(**values[name]) for name in ("vectors", "texts")}
        return BankFacts(**{**values, "sources": tuple(values["sources"])})
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"{shown}: is not what `curator bank build` writes ({error!r}); build it again") from error
