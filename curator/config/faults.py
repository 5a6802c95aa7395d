"""What is said of a setting that does not fit: where it stands, its value, what it may be. Knows no setting by name."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from curator.errors import nearest
from curator.storage.urls import redact_text

Place = tuple["str | int", ...]

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_SHOWN: Final = 60


def explain(error: Mapping[str, Any], model: type[BaseModel], source: str) -> str:
    """One of pydantic's errors about ``model`` in our words, after ``source``: the setting, its value, the way out."""
    place: Place = tuple(error["loc"])
    name = ".".join(str(step) for step in place)
    if error["type"] == "extra_forbidden":
        owner, _ = _found(model, place[:-1])
        return f"{source}: unknown key {name!r}; {nearest(str(place[-1]), list(owner.model_fields) if owner else [])}"
    if error["type"] == "value_error":  # our own validators, which say all
        said = str(error["ctx"]["error"])
        return f"{source}: {name}{' ' if said.startswith('is ') else ': '}{said}" if name else f"{source}: {said}"
    _, field = _found(model, place)
    within = field is not None and field is _found(model, place[:-1])[1]
    if error["type"] == "missing":
        what = f": {field.description}" if field is not None and field.description else ""
        return f"{source}: {name} is missing{what}"
    value = error.get("input")
    wanted = "a value that fits" if field is None else _wanted(field, place, within=within)
    hint = ""
    choices = _choices(field.annotation) if field is not None else ()
    if isinstance(value, str) and choices:
        hint = nearest(value.lower(), choices, "")
    return f"{source}: {name} is {_shown(value)}; it must be {wanted}{hint and f'; {hint}'}"


def line_of(text: str, place: Place) -> int | None:
    """The line of a TOML text on which the setting ``place`` stands, or the section nearest around it."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _numbered(_steps(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_steps(key[1])), number)
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place)


def _steps(dotted: str) -> Place:
    return tuple(step.strip(" \t\"'") for step in dotted.split("."))


def _numbered(steps: Place, counts: Mapping[Place, int]) -> Place:
    """``steps`` of a header, where those but the last that are lists mean the newest item."""
    place: Place = ()
    for number, step in enumerate(steps):
        place = (*place, step)
        if place in counts and number < len(steps) - 1:
            place = (*place, counts[place])
    return place


def _found(model: type[BaseModel], place: Sequence[str | int]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model that ``place`` leads to, if it is a section, and the field that it is."""
    here: type[BaseModel] | None = model
    field: FieldInfo | None = None
    for step in place:
        if here is None or isinstance(step, int):  # an item of a list, an entry of a table: of its field
            continue
        field = here.model_fields.get(step)
        here = _model_in(field.annotation) if field is not None else None
    return here, field


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(each) for each in get_args(annotation))
    return tuple(choice for each in get_args(annotation) for choice in _choices(each))


def _wanted(field: FieldInfo, place: Place, *, within: bool) -> str:
    """What values a field takes, in words; ``within`` for an item of it."""
    kind = next((each for each in _kinds(field.annotation) if each is not type(None)), str)
    if _model_in(kind) is not None:
        section = str(place[-2] if within else place[-1])
        if get_origin(kind) is tuple and not within:
            return f"a list of tables: write [[{section}]] above its settings"
        return f"a table of settings: write {f'[[{section}]]' if within else f'[{section}]'} above them"
    if get_origin(kind) is tuple:
        return "text" if within else "a list of texts"
    if get_origin(kind) is dict or kind is dict:
        of_numbers = bool(get_args(kind)) and get_args(kind)[1] is float
        return "a number" if within and of_numbers else "a table of numbers" if of_numbers else "a table"
    if choices := _choices(kind):
        return f"one of {', '.join(choices)}"
    words = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
    return f"{words}{_bounds(field)}"


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _bounds(field: FieldInfo) -> str:
    limits = {name: getattr(each, name) for each in field.metadata for name in ("gt", "ge", "lt", "le", "pattern")
              if getattr(each, name, None) is not None}  # fmt: skip
    if "pattern" in limits:
        return f" that fits {limits['pattern']}"
    words = {"gt": "above {:g}", "ge": "of at least {:g}", "lt": "below {:g}", "le": "of at most {:g}"}
    if {"ge", "le"} <= set(limits):
        return f" from {limits['ge']:g} to {limits['le']:g}"
    return "".join(f" {'and ' if place else ''}{words[name].format(value)}"
                   for place, (name, value) in enumerate(limits.items()))  # fmt: skip


def _shown(value: Any) -> str:
    text = redact_text(repr(value))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
