"""Own what an object decoder is trained on: prompts over nouns and sets of nouns, and the cache of their embeddings.

It refuses to know the decoder, the noise and the loss.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.annotators import TextEncoder
from curator.cache import replacing
from curator.labels.templates import fill
from curator.labels.vocabulary import Vocabulary

log = logging.getLogger(__name__)

_BLOCK = 4096


@dataclass(frozen=True)
class Prompts:
    """All texts of a training, in a fixed order: each form of each noun in each template, then sets of nouns.

    ``forms`` are (text, number of its noun), those of one noun together; ``sets`` are numbers of nouns [M, 3], -1 where
    a set has two, and ``set_templates`` [M] the template of each.
    """

    nouns: tuple[str, ...]
    forms: tuple[tuple[str, int], ...]
    templates: tuple[str, ...]
    sets: npt.NDArray[np.int32]
    set_templates: npt.NDArray[np.int32]

    @classmethod
    def make(cls, vocabulary: Vocabulary, templates: Sequence[str], sets_per_noun: int, seed: int) -> Prompts:
        """The prompts of ``vocabulary``; every noun begins ``sets_per_noun`` sets, half of them of two nouns."""
        forms = [(form, n) for n, label in enumerate(vocabulary.labels) for form in (label.name, *label.aliases)]
        rng = np.random.default_rng((seed, 17))
        count = len(vocabulary) * sets_per_noun
        members = rng.integers(len(vocabulary), size=(count, 3)).astype(np.int32)
        members[:, 0] = np.tile(np.arange(len(vocabulary)), sets_per_noun)
        members[rng.random(count) < 0.5, 2] = -1
        places = rng.integers(len(templates), size=count).astype(np.int32)
        return cls(vocabulary.names, tuple(forms), tuple(templates), members, places)

    def __len__(self) -> int:
        return len(self.forms) * len(self.templates) + len(self.sets)

    def text(self, row: int) -> str:
        """The text of ``row``."""
        singles = len(self.forms) * len(self.templates)
        if row < singles:
            form, template = divmod(row, len(self.templates))
            return fill(self.templates[template], self.forms[form][0])
        members = [self.nouns[noun] for noun in self.sets[row - singles] if noun >= 0]
        return fill(self.templates[int(self.set_templates[row - singles])], " and ".join(members))

    def digest(self) -> str:
        """64 hex digits over all texts and what they stand for."""
        stated = [self.nouns, self.forms, self.templates, self.sets.tolist(), self.set_templates.tolist()]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def embed(prompts: Prompts, encoder: TextEncoder, folder: Path) -> npt.NDArray[np.float16]:
    """Embeddings float16 [N, dim] of all texts, mapped from ``folder``; goes on where a run was stopped."""
    key = {"encoder": encoder.digest, "prompts": prompts.digest(), "rows": len(prompts), "dim": encoder.dim}
    folder.mkdir(parents=True, exist_ok=True)
    state_file, file = folder / "texts.json", folder / "texts.npy"
    state: dict[str, Any] = json.loads(state_file.read_text()) if state_file.is_file() else {}
    if {name: state.get(name) for name in key} != key:
        state = {**key, "done": 0}
        np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(len(prompts), encoder.dim)).flush()
    vectors = np.lib.format.open_memmap(file, mode="r+")
    while state["done"] < len(prompts):
        start = state["done"]
        rows = range(start, min(start + _BLOCK, len(prompts)))
        vectors[start : rows.stop] = encoder.embed_text([prompts.text(row) for row in rows]).cpu().numpy()
        vectors.flush()
        state["done"] = rows.stop
        with replacing(state_file) as part:
            part.write_text(json.dumps(state))
        log.info("texts embedded=%d of=%d", state["done"], len(prompts))
    return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]


class Draws:
    """Rows and targets of a step, the same for the same seed and step.

    Nouns come equally often, whatever the number of their forms. One row of every noun, its name in some template, is
    held out for judging and never drawn (unless there is only one template).
    """

    def __init__(self, prompts: Prompts, set_share: float, seed: int) -> None:
        self._prompts, self._seed = prompts, seed
        self._set_share = set_share if len(prompts.sets) else 0.0
        owners = np.array([noun for _, noun in prompts.forms])
        self._first = np.searchsorted(owners, np.arange(len(prompts.nouns)), side="left")
        self._forms = np.searchsorted(owners, np.arange(len(prompts.nouns)), side="right") - self._first
        self._held = np.random.default_rng((seed, 29)).integers(len(prompts.templates), size=len(prompts.nouns))

    def held_out(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The row that is held out for each noun [nouns], and the noun [nouns]: its name in one of the templates."""
        nouns = np.arange(len(self._prompts.nouns))
        return self._first * len(self._prompts.templates) + self._held, nouns

    def step(self, step: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows [count] and the nouns [count] that are to be decoded from them; of a set any member is right."""
        rng = np.random.default_rng((self._seed, 1, step))
        templates = len(self._prompts.templates)
        nouns = rng.integers(len(self._prompts.nouns), size=count)
        form = rng.integers(self._forms[nouns])
        template = rng.integers(templates, size=count)
        if templates > 1:
            held = (form == 0) & (template == self._held[nouns])
            template[held] = (template[held] + rng.integers(1, templates, size=count)[held]) % templates
        rows = (self._first[nouns] + form) * templates + template
        of_set = rng.random(count) < self._set_share
        if of_set.any():
            sets = rng.integers(len(self._prompts.sets), size=count)
            members = self._prompts.sets[sets]
            size = 2 + (members[:, 2] >= 0)
            member = members[np.arange(count), rng.integers(size)]
            rows = np.where(of_set, len(self._prompts.forms) * templates + sets, rows)
            nouns = np.where(of_set, member, nouns)
        return rows, nouns
