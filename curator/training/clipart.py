"""Own the openclipart pictures: where they lie, their titles, keywords and categories, and which are held out.

It refuses to know how captions are phrased or pictures drawn.
"""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import dataclass
from pathlib import Path

from curator.training import sources
from curator.training.pictures import Picture

HELD_OUT_PERCENT = 6
"""Share of the pictures that is never trained on; the demo shards and the held-out figures take theirs from there."""

_NOISE = frozenset(
    [
        "unsorted",
        "icon",
        "icons",
        "lemon",
        "theme",
        "actions",
        "action",
        "applications",
        "special",
        "examples",
        "duplicates",
        "the",
        "a",
        "an",
        "of",
        "and",
        "or",
        "with",
        "in",
        "on",
        "to",
        "for",
        "by",
        "from",
        "at",
        "my",
        "is",
        "it",
        "its",
        "svg",
        "png",
        "clip",
        "art",
        "clipart",
        "image",
        "picture",
        "remix",
        "various",
        "cliparts",
        "untitled",
        "etiquette",
        "theme",
        "stock",
        "apps",
        "mimetypes",
        "architetto",
        "francesco",
        "rollandin",
        "nicu",
        "buculei",
        "aiga",
        "symbol",
        "signs",
        "part",
        "flat",
        "collection",
        "wed",
        "aug",
        "iconset",
        "rpg",
        "flickr",
        "file",
        "version",
        "hash",
        "public",
        "domain",
        "test",
        "new",
        "open",
        "library",
        "no",
        "description",
        "none",
    ]
)


@dataclass(frozen=True)
class Clipart:
    """One openclipart picture: `code` is its path without the ending, `title` is empty where there is none of use."""

    code: str
    path: Path
    title: str
    keywords: tuple[str, ...]
    categories: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """True for the fixed share (by digest of the path) that training never sees."""
        return int(hashlib.sha256(self.code.encode()).hexdigest()[:8], 16) % 100 < HELD_OUT_PERCENT


def _clean(text: str) -> str:
    words = re.findall(r"[a-z]+(?:'[a-z]+)?", html.unescape(text).lower())
    return " ".join(word for word in words if word not in _NOISE and len(word) > 1)[:60].strip()


def _field(svg: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}[^>]*>([^<]*)</{tag}>", svg)


def _described(path: Path, nouns: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """Title and keywords from the metadata inside the SVG of the same picture; unusable words are left out."""
    try:
        svg = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ()
    head = svg.partition("</metadata>")[0] or svg[:4000]
    titles = [_clean(text) for text in _field(head, "dc:title")[:1]]
    keywords = [_clean(text) for text in _field(head, "rdf:li")]
    title = titles[0] if titles and any(word in nouns for word in titles[0].split()) else ""
    return title, tuple(dict.fromkeys(word for word in keywords if word in nouns and word != title))


def _title_from_name(stem: str, nouns: frozenset[str]) -> str:
    """The leading nouns of a file name such as `chemistry_flask_matthew__01`: the author's name follows the subject."""
    words = []
    for word in re.split(r"[_\W\d]+", stem.lower()):
        if word not in nouns or word in _NOISE or len(word) < 3:
            break
        words.append(word)
    return " ".join(words[:3])


def read_clipart(work: Path, nouns: frozenset[str]) -> list[Clipart]:
    """All openclipart pictures, each file once (no links), sorted by path; `nouns` decides which words are kept."""
    root = sources.debian_root(work, sources.CLIPART_PNG) / "openclipart" / "png"
    drawings = sources.debian_root(work, sources.CLIPART_SVG) / "openclipart" / "svg"
    found = []
    for path in sorted(root.rglob("*.png")):
        if path.is_symlink():
            continue
        code = path.relative_to(root).with_suffix("").as_posix()
        title, keywords = _described(drawings / f"{code}.svg", nouns)
        folders = [_clean(part.replace("_", " ")) for part in Path(code).parts[:-1]]
        categories = tuple(dict.fromkeys(name for name in folders if name))
        named = _title_from_name(path.stem, nouns)
        title = (named or title) if "icons" in Path(code).parts else (title or named)
        if not title and keywords:
            title = keywords[0]
        found.append(Clipart(code, path, title, tuple(word for word in keywords if word != title), categories))
    return found


def clipart_pictures(clipart: list[Clipart]) -> list[Picture]:
    """One `Picture` per clipart, its code as the entity."""
    return [Picture(item.code, "openclipart", path=item.path) for item in clipart]
