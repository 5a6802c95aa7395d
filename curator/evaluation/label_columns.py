"""Owns which label columns a run has and what made each: a vocabulary, a method without one, or no labelling at all.

Knows no label and no measure.
"""

from __future__ import annotations

from collections.abc import Mapping

from curator.errors import ConfigError
from curator.storage import Storage
from curator.tables.readers import first_part
from curator.tables.schema import columns_of_kind

FREE = "free"
MADE_BY = "made_by."
_SAID_OF_IMAGES = ("labels", FREE, "")  # the sections of a config; '' where a part does not say


def label_columns(run: str, storage: Storage) -> dict[str, str]:
    """Columns of labels -> what made each as ``SECTION.METHOD`` ('' where the part does not say), in their order.

    ConfigError where the run has no part.
    """
    with first_part(run, storage) as part:
        made_by = {key.removeprefix(MADE_BY): said for key, said in part.footer.items() if key.startswith(MADE_BY)}
        return {name: made_by.get(_owner(name, made_by), "") for name in columns_of_kind(part.schema, "labels")}


def label_sets(run: str, storage: Storage) -> list[str]:
    """The columns of labels that say what is in the image, with a vocabulary or without."""
    return [name for name, said in label_columns(run, storage).items() if _section(said) in _SAID_OF_IMAGES]


def free_label_sets(run: str, storage: Storage) -> list[str]:
    """Those of them that were made without a vocabulary."""
    return [name for name, said in label_columns(run, storage).items() if _section(said) == FREE]


def chosen(run: str, storage: Storage, asked: str | None, offered: list[str], what: str) -> str:
    """The column asked for, or the only one on offer. ConfigError says what another one is, and what there is."""
    if asked is None and len(offered) == 1:
        return offered[0]
    if asked in offered:
        return asked
    there = ", ".join(offered)
    way = f"--label-set takes one of {there}" if offered else f"there are none; give a run that has {what}"
    if asked is None:
        raise ConfigError(f"{run}: which {what}? {way}")
    said = label_columns(run, storage).get(asked)
    if said is None:
        raise ConfigError(f"{run}: has no labels {asked!r}; {way}")
    raise ConfigError(
        f"{run}: {asked!r} was made by {said or 'something that the parts do not name'}: no {what}; {way}"
    )


def _section(made_by: str) -> str:
    return made_by.partition(".")[0]


def _owner(column: str, made_by: Mapping[str, str]) -> str:
    """The longest name that the column is, or begins with."""
    owners = (name for name in made_by if column == name or column.startswith(f"{name}_"))
    return max(owners, key=len, default=column)
