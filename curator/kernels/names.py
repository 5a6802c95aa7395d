"""Owns the form in which names of labels are compared. Knows no label and no vocabulary."""

from __future__ import annotations


def plain(name: str) -> str:
    """A name as it is compared: case, ``_``, ``-`` and repeated white space do not count."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
