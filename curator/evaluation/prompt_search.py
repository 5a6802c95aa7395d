"""Search for prompt templates without gradients: hill climbing on the accuracy over a small labelled sample.

Owns the climb and the built-in proposer; a proposer may be any function, such as one that asks a language model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from curator.kernels.metrics import macro_mean
from curator.labels.templates import check_templates

if TYPE_CHECKING:
    from torch import Tensor

Proposer: TypeAlias = "Callable[[Sequence[tuple[str, float]], random.Random], Sequence[str]]"
"""From templates with the score of each alone, best first, and a source of chance, to new templates to try."""

Embed: TypeAlias = "Callable[[str], Tensor]"
"""From a template to class embeddings float32 [C, D] of unit norm."""

_FRAMES = (
    ("a photo of", ""), ("a picture of", ""), ("a drawing of", ""), ("a cropped photo of", ""), ("a close-up of", ""),
    ("a bright photo of", ""), ("an icon of", ""), ("an illustration of", ""), ("art of", ""), ("", "clipart"),
    ("", "in the picture"), ("this is", ""), ("there is", "here"), ("", "on a white background"), ("", "symbol"),
)  # fmt: skip
_ARTICLES = ("", "a", "the", "one", "many")


@dataclass(frozen=True, slots=True)
class Found:
    """The best set of templates: its score on the sample, that of the start, and what was accepted on the way."""

    templates: tuple[str, ...]
    score: float
    start_score: float
    tried: int
    history: tuple[tuple[int, float, tuple[str, ...]], ...]


def search(
    start: Sequence[str],
    embed: Embed,
    images: Tensor,
    target: Tensor,
    *,
    propose: Proposer | None = None,
    rounds: int = 50,
    most: int = 8,
    seed: int = 0,
) -> Found:
    """Climb from ``start``: each round adds, swaps or drops one template, and is kept where the score rises.

    The score is the mean recall over the true labels ``target`` int64 [N] of ``images`` [N, D], with the cross-entropy
    as a tie-breaker so small that it decides among equals only. ``most`` bounds the ensemble. The same seed gives the
    same search. Black-box optimisation of prompts as in Liu et al. 2024 ("Language models as black-box optimizers for
    vision-language models"), whose proposer is a language model.
    """
    generator = random.Random(seed)
    propose = propose or recombine
    banks: dict[str, Tensor] = {}
    singles: dict[str, float] = {}

    def score(templates: Sequence[str]) -> float:
        for template in templates:
            if template not in banks:
                banks[template] = embed(template)
        return _score([banks[template] for template in templates], images, target)

    best = check_templates(tuple(dict.fromkeys(start)), "the start of the search")
    best_score = start_score = score(best)
    singles.update((template, score([template])) for template in best)
    history = [(0, best_score, best)]
    tried = 1
    for number in range(1, rounds + 1):
        ranked = sorted(singles.items(), key=lambda item: (-item[1], item[0]))
        proposed = [each for each in propose(ranked, generator) if each.count("{}") == 1]
        candidates = [best[:at] + best[at + 1 :] for at in range(len(best)) if len(best) > 1]
        for template in dict.fromkeys(proposed):
            singles[template] = score([template])
            if template in best:
                continue
            if len(best) < most:
                candidates.append((*best, template))
            candidates += [(*best[:at], template, *best[at + 1 :]) for at in range(len(best))]
        for candidate in candidates:
            tried += 1
            value = score(candidate)
            if value > best_score:
                best, best_score = candidate, value
        if best != history[-1][2]:
            history.append((number, best_score, best))
    return Found(best, best_score, start_score, tried, tuple(history))


def _score(banks: Sequence[Tensor], images: Tensor, target: Tensor) -> float:
    import torch

    from curator.kernels.vectors import l2_normalize

    cosine = images @ l2_normalize(torch.stack(list(banks)).mean(dim=0)).T
    hits = (cosine.argmax(dim=1) == target).numpy()
    likelihood = float(torch.nn.functional.cross_entropy(100 * cosine, target))
    return macro_mean(hits, target.numpy(), cosine.shape[1]) - 1e-6 * min(likelihood, 100.0)


def recombine(ranked: Sequence[tuple[str, float]], generator: random.Random, count: int = 4) -> list[str]:
    """New templates out of the better half: the words before the label of one and those after it of another.

    Now and then one part is replaced by a part of the built-in stock, or an article is changed.
    """
    parents = [template for template, _ in ranked[: max(2, (len(ranked) + 1) // 2)]]
    made = []
    for _ in range(count):
        before = generator.choice(parents).partition("{}")[0].strip(" .")
        after = generator.choice(parents).partition("{}")[2].strip(" .")
        chance = generator.random()
        if chance < 0.4:
            before = " ".join((generator.choice(_FRAMES)[0], generator.choice(_ARTICLES))).strip()
        elif chance < 0.6:
            after = generator.choice(_FRAMES)[1]
        elif chance < 0.8:
            words = before.split()
            kept = words[:-1] if words and words[-1] in _ARTICLES else words
            before = " ".join((*kept, generator.choice(_ARTICLES))).strip()
        made.append(" ".join(f"{before} {{}} {after}".split()) + generator.choice(("", ".")))
    return made


def asking(complete: Callable[[str], str], count: int = 4) -> Proposer:
    """A proposer that shows a language model the best and worst templates so far and asks it for better ones."""

    def propose(ranked: Sequence[tuple[str, float]], _generator: random.Random) -> list[str]:
        def shown(some: Sequence[tuple[str, float]]) -> str:
            return "\n".join(f"{100 * value:.2f} % {template}" for template, value in some)

        answer = complete(
            "Templates for captions of images, in which {} stands for the name of the class, with the accuracy of an "
            f"image classifier that uses them.\nGood ones:\n{shown(ranked[:8])}\nBad ones:\n{shown(ranked[-4:])}\n"
            f"Write {count} different new templates that may do better, one a line, each with {{}} once, nothing else."
        )
        return [line.strip(" -*\"'\t") for line in answer.splitlines() if line.count("{}") == 1]

    return propose
