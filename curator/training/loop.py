"""Own the training loop: steps, schedule of the learning rate, progress log, and the file to resume from.

It refuses to know how the finished weights are judged or shipped.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curator.cache import replacing
from curator.training.batches import NounPairs, Schedule, Step
from curator.training.captions import Concepts, kind_captions, view_captions
from curator.training.corpus import Corpus
from curator.training.lanes import Lanes
from curator.training.losses import image_text_loss, same_entity_loss
from curator.training.recipe import Recipe
from curator.training.towers import SHORT_CONTEXT, AveragedWeights, CaptionTokens, build

log = logging.getLogger(__name__)


class Trainer:
    """One training from the first epoch to the last; epochs alone, never the clock, decide what it does."""

    def __init__(self, corpus: Corpus, concepts: Concepts, nouns: NounPairs, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self._corpus, self._concepts, self._nouns, self._recipe = corpus, concepts, nouns, recipe
        self._schedule = Schedule(corpus, concepts, recipe)
        self._held = torch.from_numpy(concepts.held)
        self._mirror = torch.tensor([corpus.entities[code].mirror for code in concepts.codes])
        self._tokens = CaptionTokens()
        self.model = build()
        self._lanes = Lanes(self.model, recipe.lanes)
        self._optimizer = _optimizer(self.model, recipe)
        self.averaged = AveragedWeights(self.model, recipe.ema)
        self.epoch = 0

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote; the number of epochs may have changed, and so the rates to come.

        Raises ValueError when anything else of the recipe did.
        """
        state = torch.load(path, weights_only=True)
        if {**state["recipe"], "epochs": 0} != {**dataclasses.asdict(self._recipe), "epochs": 0}:
            raise ValueError(f"{path}: saved with another recipe; delete it to start afresh")
        self.model.load_state_dict(state["model"])
        self._lanes.copy_statistics()
        self._optimizer.load_state_dict(state["optimizer"])
        self.averaged.state, self.averaged.steps = state["averaged"], state["steps"]
        self.epoch = state["epoch"]

    def save(self, path: Path) -> None:
        """Write everything that the next epoch depends on; the file is replaced in one step."""
        state = {
            "recipe": dataclasses.asdict(self._recipe),
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "averaged": self.averaged.state,
            "steps": self.averaged.steps,
            "epoch": self.epoch,
        }
        with replacing(path) as part:
            torch.save(state, part)

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch; mean losses by name, and views per second."""
        self._lanes.train()
        rng = np.random.default_rng((self._recipe.seed, self.epoch, 1))
        sums: dict[str, float] = {}
        begun = time.perf_counter()
        total = self._recipe.epochs * len(self._schedule)
        for number, step in enumerate(self._schedule.epoch(self.epoch)):
            share = (self.epoch * len(self._schedule) + number) / total
            for group in self._optimizer.param_groups:
                group["lr"] = self._recipe.learning_rate * group["rate"] * _rate(share, self._recipe.warmup_share)
            context = 32 if number % 8 == 7 else SHORT_CONTEXT
            self._optimizer.zero_grad(set_to_none=True)
            losses = self._gradients(step, rng, context)
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, math.log(100))  # type: ignore[operator]
            self.averaged.update(self.model)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(self._schedule)
        self.epoch += 1
        views = 2 * self._recipe.batch_entities * len(self._schedule)
        return {**sums, "views_per_s": views / (time.perf_counter() - begun)}

    def _gradients(self, step: Step, rng: np.random.Generator, context: int) -> dict[str, Tensor]:
        """Losses of one step by name, after their gradients were added to the model."""
        recipe, concepts = self._recipe, self._concepts
        entities = torch.from_numpy(step.entities)
        views = view_captions(concepts, step.entities.tolist(), rng)
        kinds = kind_captions(concepts, step.entities[::2].tolist(), recipe.kind_captions, rng)
        nouns, meanings, allowed = self._nouns.draw(recipe.text_pairs, rng)
        tokens = self._tokens([*views.texts, *kinds.texts, *nouns, *meanings], context)
        thumbnails = torch.from_numpy(np.asarray(self._corpus.train.thumbnails[step.rows]))
        images, texts = self._lanes.forward(thumbnails, self._mirror[entities], tokens, int(rng.integers(2**31)))
        sizes = [len(views.texts), len(kinds.texts), len(nouns), len(meanings)]
        view_texts, kind_texts, noun_texts, meaning_texts = torch.split(texts, sizes)
        held = self._held[entities]
        scale = self.model.logit_scale.exp()  # type: ignore[operator]
        losses = {
            "views": image_text_loss(images, view_texts, held[:, torch.from_numpy(views.concepts)], scale),
            "kinds": image_text_loss(images, kind_texts, held[:, torch.from_numpy(kinds.concepts)], scale),
            "designs": same_entity_loss(images, entities),
            "nouns": image_text_loss(
                noun_texts, meaning_texts, torch.from_numpy(allowed), scale.detach().clamp_max(20)
            ),
        }
        weights = {
            "views": 1.0,
            "kinds": recipe.kind_weight,
            "designs": recipe.design_weight,
            "nouns": recipe.text_weight,
        }
        losses["total"] = torch.stack([losses[name] * weight for name, weight in weights.items()]).sum()
        losses["total"].backward()  # type: ignore[no-untyped-call]
        self._lanes.backward(images, texts)
        return losses


def _rate(share: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if share < warmup:
        return share / warmup
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in model.parameters():
        (decayed if parameter.ndim > 1 else plain).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay, "rate": 1.0},
        {"params": plain, "weight_decay": 0.0, "rate": 1.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
