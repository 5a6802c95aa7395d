"""What counts as a caption that can be read: bytes to text under an encoding, and what is left out for its own sake.

Owns the kinds of captions that are left out. Knows no file and no bank.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from curator.errors import ConfigError

UTF_8: Final = "utf-8"
MOST_BYTES: Final = 2**20
"""Of one caption; what is longer is no caption, and a file without line breaks must not fill the memory."""

Kind: TypeAlias = Literal["undecodable", "too_long"]
KINDS: Final[tuple[Kind, ...]] = ("undecodable", "too_long")


@dataclass(frozen=True, slots=True)
class Unusable:
    """What stands where a caption should, and is left out and counted."""

    kind: Kind


Caption: TypeAlias = "str | Unusable | None"
"""None where a row or sample has no caption."""


def known_encoding(name: str) -> str:
    """Python's name of an encoding whose lines end in a single line feed. ConfigError for others and unknown ones."""
    try:
        known = codecs.lookup(name).name
        lines = "a\n".encode(known) == b"a\n"
    except (LookupError, UnicodeError, TypeError) as error:
        raise ConfigError(f"encoding {name!r} is not known; give one of Python's, such as utf-8 or cp1252") from error
    if not lines:
        raise ConfigError(
            f"encoding {name!r}: its lines cannot be told apart by bytes; make the files UTF-8 first: "
            f"iconv -f {name} -t UTF-8 FILE"
        )
    return known


def decoded(data: bytes, encodings: Sequence[str]) -> Caption:
    """``data`` as text in the first of ``encodings`` that it is valid in."""
    if len(data) > MOST_BYTES:
        return Unusable("too_long")
    for encoding in encodings:
        try:
            return checked(data.decode("utf-8-sig" if encoding == UTF_8 else encoding))
        except UnicodeError:
            continue
    return Unusable("undecodable")


def checked(text: str) -> Caption:
    """``text``, unless it is none: half a surrogate pair and NUL (UTF-16 read as UTF-8) are in no caption."""
    if len(text) > MOST_BYTES:
        return Unusable("too_long")
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        return Unusable("undecodable")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
