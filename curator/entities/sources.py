"""Owns the reading of entities from what others publish: Wikidata dumps, tables of CSV or Parquet, WordNet.

Knows no rule and no gazetteer file. Formats: Wikibase JSON (mediawiki.org/wiki/Wikibase/DataModel/JSON), WordNet 3.0
(wndb(5WN)).
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, cast

from curator.entities.building import SourceEntity
from curator.errors import ConfigError, NotFoundError
from curator.kernels.plurals import plural
from curator.storage.base import ReadStream, Storage
from curator.wordnet.files import WordNet

ALIAS_WEIGHT: Final = 0.5
"""Of an alias beside the name's 1, where the source says no more."""
PLURAL_WEIGHT: Final = 0.5
# Disambiguation pages, categories, templates, project pages: items of Wikidata that no picture shows.
NO_ENTITIES: Final = ("Q4167410", "Q4167836", "Q11266439", "Q14204246", "Q13406463", "Q22808320")
_DUMPS: Final = (".json", ".jsonl")
_KINDS: Final = "tables end in .csv or .parquet, dumps in .json or .jsonl (also .gz or .bz2), WordNet is a folder"
_FIELDS: Final = frozenset({"entity_id", "name", "aliases", "description", "type", "prior"})


class _Raw(io.RawIOBase):
    """A stored object as a file of the standard library."""

    def __init__(self, stream: ReadStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_bytes(url: str, storage: Storage) -> IO[bytes]:
    """The object's bytes, unpacked where its name ends in .gz or .bz2."""
    try:
        stream = storage.open(url)
    except NotFoundError as error:
        raise _absent(url) from error
    buffered = io.BufferedReader(_Raw(stream), 1 << 20)
    if url.endswith(".gz"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    if url.endswith(".bz2"):
        return cast("IO[bytes]", bz2.BZ2File(buffered))
    return cast("IO[bytes]", buffered)


def _absent(source: str | Path) -> ConfigError:
    return ConfigError(f"{source}: no such file; give a dump, a table or the folder of WordNet")


def read_wikidata(
    url: str,
    storage: Storage,
    *,
    languages: Sequence[str] = ("en",),
    without_types: Iterable[str] = NO_ENTITIES,
    skipped: Counter[str] | None = None,
) -> Iterator[SourceEntity]:
    """The items of a Wikidata dump: JSON lines, or one array with an item a line, as ``latest-all.json`` is.

    The name is the label in the first of ``languages`` that has one (``mul``, for all languages, after them);
    labels and aliases of every language are aliases. The prior is the number of sitelinks + 1. ``skipped`` counts
    what is no item (``property``), has no label (``no_label``) or is an instance of ``without_types``.
    """
    skipped = Counter() if skipped is None else skipped
    wanted = (*languages, "mul")
    excluded = frozenset(without_types)
    try:
        with open_bytes(url, storage) as file:
            for number, line in enumerate(file, 1):
                text = line.strip().rstrip(b",")
                if text in (b"", b"[", b"]"):
                    continue
                entity = _item(_parsed(text, url, number), wanted, excluded, skipped)
                if entity is not None:
                    yield entity
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise ConfigError(f"{url}: cannot be unpacked ({error}); fetch the dump again") from error


def _parsed(text: bytes, url: str, number: int) -> dict[str, Any]:
    where = f"{url}, line {number}"
    try:
        item = json.loads(text)
    except ValueError as error:
        if number == 1 and not url.removesuffix(".gz").removesuffix(".bz2").endswith(_DUMPS):
            raise ConfigError(f"{url}: is of no kind that is read, by its name and its first line; {_KINDS}") from error
        raise ConfigError(f"{where}: not JSON ({error}); a dump has one item a line, and may have been cut") from error
    if not isinstance(item, dict) or "id" not in item:
        raise ConfigError(f"{where}: not an item of Wikidata; each line is an object with an 'id'")
    return item


def _item(
    item: Mapping[str, Any], wanted: Sequence[str], excluded: frozenset[str], skipped: Counter[str]
) -> SourceEntity | None:
    if not item["id"].startswith("Q"):
        skipped["property"] += 1
        return None
    labels, descriptions = item.get("labels") or {}, item.get("descriptions") or {}
    name = next((labels[code]["value"] for code in wanted if code in labels), None)
    if name is None:
        skipped["no_label"] += 1
        return None
    types = [_target(claim) for claim in (item.get("claims") or {}).get("P31", ())]
    if excluded.intersection(types):
        skipped["type"] += 1
        return None
    aliases = item.get("aliases") or {}
    others = [labels[code]["value"] for code in wanted if code in labels]
    others += [alias["value"] for code in wanted for alias in aliases.get(code, ())]
    return SourceEntity(
        item["id"],
        name,
        tuple((alias, ALIAS_WEIGHT) for alias in dict.fromkeys(others) if alias != name),
        next((descriptions[code]["value"] for code in wanted if code in descriptions), ""),
        next((type_ for type_ in types if type_), ""),
        float(len(item.get("sitelinks") or {}) + 1),
    )


def _target(claim: Mapping[str, Any]) -> str:
    value = claim.get("mainsnak", {}).get("datavalue", {}).get("value", {})
    return str(value.get("id", "")) if isinstance(value, dict) else ""


def read_table(path: Path, *, separator: str = "|") -> Iterator[SourceEntity]:
    """The rows of a CSV or Parquet file with the columns entity_id, name and perhaps aliases, description, type, prior.

    ``aliases`` is a list, or a text in which ``separator`` stands between them.
    """
    for number, row in enumerate(_csv_rows(path) if path.suffix == ".csv" else _parquet_rows(path), 1):
        aliases = row.get("aliases") or ()
        if isinstance(aliases, str):
            aliases = [alias for alias in aliases.split(separator) if alias.strip()]
        try:
            prior = float(row["prior"]) if row.get("prior") not in (None, "") else 1.0
        except ValueError as error:
            raise ConfigError(f"{path}, row {number}: the prior {row['prior']!r} is not a number") from error
        yield SourceEntity(
            str(row["entity_id"] or ""),
            str(row["name"] or ""),
            tuple((str(alias), ALIAS_WEIGHT) for alias in aliases),
            str(row.get("description") or ""),
            str(row.get("type") or ""),
            prior,
        )


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(reader.fieldnames or (), path)
            yield from reader
    except FileNotFoundError as error:
        raise _absent(path) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise _absent(path) from error
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet ({error})") from error
    with file:
        _check_columns(file.schema_arrow.names, path)
        for batch in file.iter_batches(columns=[name for name in file.schema_arrow.names if name in _FIELDS]):
            yield from batch.to_pylist()


def _check_columns(names: Sequence[str], path: Path) -> None:
    missing = {"entity_id", "name"} - set(names)
    if missing:
        raise ConfigError(
            f"{path}: has the columns {', '.join(names) or 'none'}, but not {' and '.join(sorted(missing))}; "
            "entity_id and name are needed; aliases, description, type and prior are read, too"
        )


def read_wordnet(folder: Path, *, plurals: bool = True) -> Iterator[SourceEntity]:
    """The noun synsets of WordNet, with ids as ImageNet writes them (``n02084071``) and glosses for descriptions.

    A noun's senses are in order of frequency, so that its r-th sense has the weight 1/r; ``plurals`` adds the
    plurals of words in ASCII letters.
    """
    wordnet = WordNet(folder)
    nouns = wordnet.nouns
    senses: dict[int, dict[str, float]] = {}
    for noun in sorted(nouns):
        several = plural(noun) if plurals and _is_plain(noun) else noun
        for rank, offset in enumerate(wordnet.offsets(noun), 1):
            own = senses.setdefault(offset, {})
            own[noun] = 1.0 / rank
            if several not in nouns:
                own.setdefault(several, PLURAL_WEIGHT / rank)
    for offset in sorted(senses):
        synset = wordnet.synset(offset)
        yield SourceEntity(f"n{offset:08d}", synset.words[0], tuple(senses[offset].items()), synset.gloss)


def _is_plain(noun: str) -> bool:
    return noun.isascii() and noun.replace(" ", "").replace("-", "").isalpha()
