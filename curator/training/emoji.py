"""Own the table of emoji: their names, keywords and groups, and where each design keeps its picture of each emoji.

It refuses to know how captions are phrased or pictures drawn.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from curator.training import sources
from curator.training.pictures import Picture, icon_svgs

GROUPS = {
    "Smileys & Emotion": "smileys and emotion",
    "People & Body": "people and body",
    "Animals & Nature": "animals and nature",
    "Food & Drink": "food and drink",
    "Travel & Places": "travel and places",
    "Activities": "activities",
    "Objects": "objects",
    "Symbols": "symbols",
    "Flags": "flags",
    "Component": "skin tones",
}
"""Unicode's ten groups, as the data names them and as they are put into captions."""

FLAGS_ARE_NOTO = frozenset({"fluent-3d", "fluent-modern"})
"""Designs whose flags are left out: Fluent draws no countries, and these packages fill in Noto's own flags."""

_ICON_SETS = {
    "fluent-flat": sources.FLUENT_FLAT,
    "openmoji": sources.OPENMOJI,
    "emojione": sources.EMOJIONE,
    "emojione-v1": sources.EMOJIONE_V1,
    "fxemoji": sources.FXEMOJI,
    "streamline": sources.STREAMLINE,
}


@dataclass(frozen=True)
class Emoji:
    """One emoji without skin tone: `name` as the Noto package has it, in lower case; `label` the CLDR short name."""

    code: str
    name: str
    label: str
    names: tuple[str, ...]
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    country: str | None


def code_key(code: str) -> str:
    """Code points joined by '-', lower case, without the variation selector, so that all packages agree."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[_\-:\u2019]", " ", text.lower())).strip()


def read_table(work: Path) -> list[Emoji]:
    """All emoji of the Noto package (about 1,910), in its order. Raises ConfigError when packages were not fetched."""
    rows = json.loads((sources.npm_root(work, sources.GOOGLE) / "emoji.json").read_text())
    base = json.loads((sources.npm_root(work, sources.EMOJIBASE) / "en" / "data.json").read_text())
    by_code = {code_key(row["hexcode"]): row for row in base}
    library = json.loads((sources.npm_root(work, sources.EMOJILIB) / "dist" / "emoji-en-US.json").read_text())
    tags = {code_key("-".join(f"{ord(char):x}" for char in char_seq)): words for char_seq, words in library.items()}
    table = []
    for row in rows:
        if not row["has_img_google"]:
            continue
        code = code_key(row["unified"])
        known = by_code.get(code, {})
        words = [_words(word) for word in tags.get(code, [])]
        name = re.sub(r"\s+", " ", row["name"].lower()).strip()
        label = known.get("label", _words(row["short_name"])).lower().replace("\u2019", "'")
        names = [name, _words(name), label, _words(label), *(_words(short) for short in row["short_names"]), *words[:1]]
        keywords = [*words[1:], *(_words(tag) for tag in known.get("tags", []))]
        flag = row["subcategory"] == "country-flag"
        if flag:
            names += [f"flag of {_words(name).removesuffix(' flag')}", _words(name).removesuffix(" flag")]
        table.append(
            Emoji(
                code=code,
                name=name,
                label=label,
                names=tuple(dict.fromkeys(text for text in names if text)),
                keywords=tuple(dict.fromkeys(word for word in keywords if word and word not in names)),
                group=GROUPS[row["category"]],
                subgroup=_words(row["subcategory"]).replace("&", "and"),
                country="".join(chr(int(part, 16) - 0x1F1E6 + ord("a")) for part in code.split("-")) if flag else None,
            )
        )
    return table


def _squash(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower().replace("&", "and"))


def _icon_index(table: list[Emoji]) -> dict[str, str]:
    """Squashed name to code: the more specific kinds of name win over the looser ones."""
    index: dict[str, str] = {}
    for names in ([(e.label, e.code) for e in table], [(e.name, e.code) for e in table]):
        for name, code in names:
            index.setdefault(_squash(name), code)
    for emoji in table:
        for name in emoji.names:
            index.setdefault(_squash(name), emoji.code)
        if emoji.group == "flags":
            country = emoji.label.removeprefix("flag: ")
            for shape in ("flagfor{}", "{}flag", "flag{}", "{}"):
                index.setdefault(shape.format(_squash(country)), emoji.code)
    return index


def training_pictures(work: Path, table: list[Emoji]) -> list[Picture]:
    """Every picture of every design that is trained on (never Noto), one `Picture` per emoji and design."""
    codes = {emoji.code for emoji in table}
    flags = {emoji.code for emoji in table if emoji.group == "flags"}
    found: dict[tuple[str, str], Picture] = {}
    folders = {
        "twitter": sources.npm_root(work, sources.TWITTER) / "img" / "twitter" / "64",
        "fluent-3d": sources.npm_root(work, sources.FLUENT_3D) / "assets",
        "fluent-modern": sources.npm_root(work, sources.FLUENT_MODERN) / "assets",
    }
    for design, folder in folders.items():
        for path in sorted(folder.iterdir()):
            code = code_key(path.stem)
            if code in codes and not (code in flags and design in FLAGS_ARE_NOTO):
                found.setdefault((design, code), Picture(code, design, path=path))
    index = _icon_index(table)
    for design, package in _ICON_SETS.items():
        for icon, svg in icon_svgs(sources.npm_root(work, package)):
            code_of = index.get(_squash(icon)) or index.get(_squash(re.sub(r"-\d$", "", icon)))
            if code_of:
                found.setdefault((design, code_of), Picture(code_of, design, svg=svg))
    countries = {emoji.country: emoji.code for emoji in table if emoji.country}
    for icon, svg in icon_svgs(sources.npm_root(work, sources.FLAGS)):
        if icon.endswith("-4x3") and (code_of := countries.get(icon.removesuffix("-4x3"))):
            found[("flag", code_of)] = Picture(code_of, "flag", svg=svg)
    return list(found.values())


def noto_pictures(work: Path, table: list[Emoji]) -> list[Picture]:
    """The test set: Noto's own 64-pixel PNG of every emoji, in the order of the table."""
    folder = sources.npm_root(work, sources.GOOGLE) / "img" / "google" / "64"
    by_code = {code_key(path.stem): path for path in sorted(folder.iterdir())}
    return [Picture(emoji.code, "noto", path=by_code[emoji.code]) for emoji in table]
