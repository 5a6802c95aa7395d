"""Own the training of an object decoder: steps, noise, schedule of the rate, and the file to resume from.

It refuses to know encoders, texts and files of nouns: it gets vectors, rows to draw, and token ids.
"""

from __future__ import annotations

import dataclasses
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from curator.cache import replacing
from curator.errors import ConfigError
from curator.free.novic.model import END, Architecture, Dropout, ObjectDecoder
from curator.kernels.noise import AngleNoise
from curator.kernels.vectors import l2_normalize
from curator.training.decoder_texts import Draws

_CHUNKS = 4
"""Pieces of a batch, nouns of like length together, each cut to its longest. Fixed, so that lanes change no sum."""


@dataclass(frozen=True)
class DecoderRecipe:
    """Everything that decides the outcome besides nouns, templates and encoder. The paper's numbers are in brackets."""

    steps: int = 2400  # [113,000]
    batch: int = 1024  # [8192]
    learning_rate: float = 5e-3  # [1.5e-3]
    weight_decay: float = 0.1
    prefix: int = 4
    width: int = 192  # [512]
    layers: int = 2  # [6]
    heads: int = 4  # [8]
    feedforward: int = 48  # [128]
    dropout: float = 0.0  # [0.1]
    deviation: float = 1.75  # [3.25]
    turned: float = 0.15
    turned_from: float = 45.0
    turned_to: float = 75.0
    sets_per_noun: int = 10
    set_share: float = 0.1
    bfloat16: int = 0
    lanes: int = 2
    seed: int = 0


class DecoderTrainer:
    """One training from the first step to the last; steps alone, never the clock, decide what it does."""

    def __init__(
        self,
        vectors: npt.NDArray[np.float16],
        draws: Draws,
        nouns: list[list[int]],
        tokens: int,
        recipe: DecoderRecipe,
        key: str,
        device: str = "cpu",
    ) -> None:
        """``vectors`` [N, dim] of texts; ``nouns`` are compact token ids without the end, ``tokens`` their number.

        ``key`` says what the vectors are: progress is only gone on with for the same ones. Draws and noise are made on
        the CPU whatever the ``device``.
        """
        self.device = torch.device(device)
        self._vectors, self._draws, self._recipe, self._key = vectors, draws, recipe, key
        longest = max(len(noun) for noun in nouns) + 1
        self._targets = torch.full((len(nouns), longest), END)
        for row, noun in enumerate(nouns):
            self._targets[row, : len(noun)] = torch.tensor(noun)
        self._lengths = torch.tensor([len(noun) + 1 for noun in nouns])
        self.architecture = Architecture(
            dim=vectors.shape[1], tokens=tokens, longest=longest, prefix=recipe.prefix, width=recipe.width,
            layers=recipe.layers, heads=recipe.heads, feedforward=recipe.feedforward,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = ObjectDecoder(self.architecture).to(self.device)
        self._noise = AngleNoise(recipe.deviation, recipe.turned, (recipe.turned_from, recipe.turned_to))
        self._weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self._optimizer = _optimizer(self._weights, recipe)
        lanes = recipe.lanes if self.device.type == "cpu" else 1
        self._lanes = ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,))
        self.step = 0

    def resume(self, path: Path) -> None:
        """Go on from a file that ``save`` wrote; the number of steps may have changed, and so the rates to come.

        Raises ConfigError when anything else of the recipe did, or encoder, nouns or templates.
        """
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["key"] != self._key or {**state["recipe"], "steps": 0} != {**_settings(self._recipe), "steps": 0}:
            raise ConfigError(f"{path} was saved with another recipe, encoder or nouns; delete it to start afresh")
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def save(self, path: Path) -> None:
        """Write all that the next step depends on; the file is replaced in one go."""
        state = {
            "recipe": _settings(self._recipe),
            "key": self._key,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
        }
        with replacing(path) as part:
            torch.save(state, part)

    def run(self, steps: int) -> dict[str, float]:
        """Train ``steps`` more, at most to the recipe's last; mean loss per token, and samples per second."""
        begun, loss = time.perf_counter(), 0.0
        count = min(steps, self._recipe.steps - self.step)
        for _ in range(count):
            rate = self._recipe.learning_rate * (1 + math.cos(math.pi * self.step / self._recipe.steps)) / 2
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            loss += self._gradients()
            nn.utils.clip_grad_norm_(self._weights, 1.0)
            self._optimizer.step()
            self.step += 1
        seconds = time.perf_counter() - begun
        return {"loss": loss / max(count, 1), "samples_per_s": count * self._recipe.batch / seconds}

    def noisy(self, rows: npt.NDArray[np.int64], generator: torch.Generator) -> Tensor:
        """The vectors [B, dim] of ``rows`` as the decoder gets them in training, on its device."""
        vectors = torch.from_numpy(np.asarray(self._vectors[rows], dtype=np.float32))
        return self._noise(l2_normalize(vectors), generator).to(self.device)

    def _gradients(self) -> float:
        rows, nouns = self._draws.step(self.step, self._recipe.batch)
        order = np.argsort(self._lengths[torch.from_numpy(nouns)].numpy(), kind="stable")
        seed = int(np.random.default_rng((self._recipe.seed, 2, self.step)).integers(2**62))
        vectors = self.noisy(rows[order], torch.Generator().manual_seed(seed))
        targets = self._targets[nouns[order]].to(self.device)
        lengths = self._lengths[nouns[order]].to(self.device)
        total = int(lengths.sum())
        pieces = list(zip(vectors.chunk(_CHUNKS), targets.chunk(_CHUNKS), lengths.chunk(_CHUNKS), strict=True))

        def lane(number: int) -> tuple[float, tuple[Tensor, ...]]:
            drop = Dropout(self._recipe.dropout, torch.Generator(self.device).manual_seed(seed + 1 + number))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bool(self._recipe.bfloat16)):
                loss = loss_of(self.model, *pieces[number], drop) / total
            return loss.item(), torch.autograd.grad(loss, self._weights)

        results = list(self._lanes.map(lane, range(len(pieces))))
        for number, weight in enumerate(self._weights):
            weight.grad = torch.stack([gradients[number] for _, gradients in results]).sum(dim=0)
        return sum(loss for loss, _ in results)


def loss_of(model: ObjectDecoder, vectors: Tensor, targets: Tensor, lengths: Tensor, drop: Dropout) -> Tensor:
    """Sum of cross entropies over the tokens of nouns and one end each; nothing else is projected onto the tokens.

    ``targets`` int64 [B, longest] of ``lengths`` [B], the end counted.
    """
    longest = int(lengths.max())
    real = torch.arange(longest, device=lengths.device) < lengths[:, None]
    hidden = model(vectors, targets[:, : longest - 1], drop)
    logits = model.logits(hidden[real])
    return functional.cross_entropy(logits.float(), targets[:, :longest][real], reduction="sum")


def _settings(recipe: DecoderRecipe) -> dict[str, Any]:
    """The recipe without what changes no result."""
    return {**dataclasses.asdict(recipe), "lanes": 0}


def _optimizer(weights: list[nn.Parameter], recipe: DecoderRecipe) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)
