"""The commands in a README: its fenced blocks by section, and whether they can run here. Runs nothing itself.

A block begins with ``sh`` and is run; ``sh slow`` is run by the slow tests; ``sh not-run: REASON`` is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    section: str
    info: str
    text: str

    @property
    def reason(self) -> str | None:
        """Why it cannot run here; None for one that can."""
        _, mark, reason = self.info.partition("not-run:")
        return reason.strip() if mark else None

    @property
    def slow(self) -> bool:
        return self.info == "sh slow"


def blocks(readme: Path) -> list[Block]:
    """Every fenced block, in order, with the second-level heading that it stands under."""
    text = readme.read_text()
    headings = [(match.start(), match[1]) for match in _HEADING.finditer(text)]
    found = []
    for match in _FENCE.finditer(text):
        above = [title for place, title in headings if place < match.start()]
        found.append(Block(above[-1] if above else "", match["info"].strip(), match["text"]))
    return found
