"""Owns vocabularies: which labels there are, by what names, and their digest. Knows no encoder and no image."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from curator.errors import ConfigError, CuratorError, NotFoundError, nearest
from curator.storage.base import Storage

_BUILTIN = "builtin:"
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f\x7f]")
_SAID_TWICE = 5
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, slots=True)
class Label:
    """One label. ``parent`` is the id of another label; own ``templates`` replace those of the label set."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    parent: str | None = None
    templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """The labels of a label set, in the order in which their scores stand. Ids are unique, parents exist, no cycles."""

    labels: tuple[Label, ...]

    @classmethod
    def load(
        cls, source: str | Path | Sequence[str | Mapping[str, Any] | Label], storage: Storage | None = None
    ) -> Vocabulary:
        """Read a file (``.json``, ``.toml``, any other is text), or take the labels as they are listed.

        A url is read through ``storage``, where that is given.

        Text: a label a line; ``#`` at the start of a line or after a space begins a comment. JSON and TOML: a list
        named ``labels`` (in JSON also the bare list) of names or of tables with name, id, aliases, parent, templates.
        ``builtin:style`` (and what else lies in ``labels/vocabularies/``) is a vocabulary that comes with Curator.
        A missing id is a slug of the name, made unique. Raises ConfigError naming the file and the lines at fault.
        """
        if not isinstance(source, (str, Path)):
            if not isinstance(source, Sequence):
                raise ConfigError(f"vocabulary is {source!r}; give a file, or a list of labels")
            return _assemble([(f"entry {n}", entry) for n, entry in enumerate(source, start=1)], "vocabulary")
        remote = storage is not None and "://" in str(source)
        path = _builtin(source) if isinstance(source, str) and source.startswith(_BUILTIN) else Path(source)
        place = str(source) if remote else str(path)
        try:
            found = storage.read(place) if storage is not None and remote else path.read_bytes()
        except (FileNotFoundError, NotFoundError) as error:
            raise ConfigError(f"vocabulary {place} does not exist; write a text file with a label a line") from error
        except (OSError, CuratorError) as error:
            raise ConfigError(f"vocabulary {place} cannot be read: {error}") from error
        return _assemble(_entries(_decoded(found, place), place), place)

    @cached_property
    def digest(self) -> str:
        """64 hex digits of SHA-256 over all that the labels say. Where they were read from does not count."""
        stated = [[getattr(label, field.name) for field in fields(Label)] for label in self.labels]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(label.id for label in self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def __len__(self) -> int:
        return len(self.labels)


def _builtin(source: str) -> Path:
    folder = Path(__file__).with_name("vocabularies")
    path = folder / f"{source.removeprefix(_BUILTIN)}.json"
    if path.parent != folder or not path.is_file():
        names = ", ".join(sorted(_BUILTIN + each.stem for each in folder.glob("*.json")))
        raise ConfigError(f"vocabulary {source!r} does not come with Curator; there are {names}")
    return path


def _decoded(content: bytes, place: str) -> str:
    """The text of a file. ConfigError with the line for another encoding, and for what is no text at all."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"vocabulary {place} is UTF-16, not UTF-8; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"vocabulary {place}: line {line} cannot be read as UTF-8 text (byte {content[error.start]:#04x}); save "
            "the file as UTF-8"
        ) from error
    if (control := _CONTROL.search(text)) is not None:
        line = text.count("\n", 0, control.start()) + 1
        raise ConfigError(
            f"vocabulary {place}: line {line} holds the control character {control[0]!r}; it must be UTF-8 text with a "
            "label a line"
        )
    return text


def _entries(content: str, path: str) -> list[tuple[str, Any]]:
    """Every entry of a file with the words for where it stands."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".json", ".toml"):
        lines = ((n, _COMMENT.sub("", line).strip()) for n, line in enumerate(content.splitlines(), start=1))
        return [(f"line {n}", line) for n, line in lines if line]
    try:
        document = json.loads(content) if suffix == ".json" else _toml(content)
    except ValueError as error:  # both parsers' errors are ValueErrors, and say the line
        raise ConfigError(f"vocabulary {path} is not valid {suffix[1:].upper()}: {error}") from error
    if isinstance(document, dict):
        document = document.get("labels")
    if not isinstance(document, list):
        raise ConfigError(f"vocabulary {path} has no list named 'labels'")
    return [(f"entry {n}", entry) for n, entry in enumerate(document, start=1)]


def _toml(content: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(content)


def _assemble(entries: Sequence[tuple[str, Any]], source: str) -> Vocabulary:
    if not entries:
        raise ConfigError(f"{source} holds no label; write at least one")
    labels = [(where, _label(entry, f"{source}: {where}")) for where, entry in entries]
    ids: dict[str, str] = {}
    names: dict[str, str] = {}
    twice = [
        f"label {'id ' if label.id else ''}{(label.id or label.name)!r} at {first} and {where}"
        for where, label in labels
        if (first := (ids if label.id else names).setdefault(label.id or label.name, where)) != where
    ]
    if twice:
        more = f"; and {len(twice) - _SAID_TWICE} more" if len(twice) > _SAID_TWICE else ""
        raise ConfigError(
            f"{source}: the same stands twice: {'; '.join(twice[:_SAID_TWICE])}{more}. Remove one of each, or tell "
            "them apart by id (in JSON or TOML)"
        )
    finished = tuple(label if label.id else replace(label, id=_slug(label.name, ids)) for _, label in labels)
    _check_parents(finished, source)
    return Vocabulary(finished)


def _label(entry: Any, where: str) -> Label:
    """One entry as a Label; its id is empty where none is given."""
    if isinstance(entry, Label):
        return entry
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is {entry!r}; a label is a name, or a table with a name")
    known = [field.name for field in fields(Label)]
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where} has the key {key!r}; {nearest(str(key), known)}")
    return Label(
        id=_text(entry, "id", where),
        name=_text(entry, "name", where) or _missing_name(where),
        aliases=_texts(entry, "aliases", where),
        parent=_text(entry, "parent", where) or None,
        templates=_texts(entry, "templates", where),
    )


def _missing_name(where: str) -> str:
    raise ConfigError(f"{where} has no name; write name = '...'")


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {key} is {value!r}; it must be text")
    return " ".join(unicodedata.normalize("NFC", value).split())


def _texts(entry: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = entry.get(key) or ()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"{where}: {key} is {values!r}; it must be a list of texts")
    texts = (_text({key: value}, key, where) for value in values)
    return tuple(dict.fromkeys(text for text in texts if text))


def _slug(name: str, taken: dict[str, str]) -> str:
    """An id of letters, digits and underscores that is not taken yet, and now is."""
    base = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", name).casefold()).strip("_") or "label"
    number, slug = 1, base
    while slug in taken:
        number += 1
        slug = f"{base}_{number}"
    taken[slug] = name
    return slug


def _check_parents(labels: Sequence[Label], source: str) -> None:
    parents = {label.id: label.parent for label in labels}
    for label in labels:
        if label.parent is not None and label.parent not in parents:
            hint = nearest(label.parent, parents, "a parent is the id of a label of the same file")
            raise ConfigError(
                f"{source}: label {label.id!r} has the parent {label.parent!r}, which is not there; {hint}"
            )
    rooted: set[str] = set()
    for start in parents:
        path: dict[str, None] = {}
        step: str | None = start
        while step is not None and step not in rooted:
            if step in path:
                raise ConfigError(f"{source}: label {step!r} is its own ancestor, by way of {' -> '.join(path)}")
            path[step] = None
            step = parents[step]
        rooted.update(path)
