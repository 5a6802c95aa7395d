"""Own the judging of finished weights: zero-shot accuracy by text only, through open_clip as a user would load them.

It refuses to know how the weights were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from curator.training.corpus import Corpus
from curator.training.emoji import GROUPS, Emoji, noto_pictures
from curator.training.pictures import open_picture

PROMPTS = ("{}", "a picture of {}", "an emoji of {}", "a drawing of a {}", "an icon of a {}")
"""Templates of every figure: a class embedding is the renormalised mean over them."""


@dataclass(frozen=True)
class Score:
    """Accuracies in percent of `count` pictures over `classes` names."""

    name: str
    count: int
    classes: int
    top1: float
    top5: float


class Judge:
    """The shipped encoder, loaded from its directory by `local-dir:`."""

    def __init__(self, folder: Path) -> None:
        self._model, _, self._preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Unit vectors float32 [N, D]; transparent pixels are laid on white first, as Curator's decoder does."""
        vectors = []
        for start in range(0, len(pictures), 256):
            batch = torch.stack([self._preprocess(_on_white(image)) for image in pictures[start : start + 256]])
            vectors.append(self._model.encode_image(batch, normalize=True))
        return torch.cat(vectors)

    @torch.no_grad()
    def names(self, names: Sequence[str], prompts: Sequence[str] = PROMPTS) -> Tensor:
        """Class embeddings float32 [N, D] of names."""
        total = torch.zeros(())
        for prompt in prompts:
            texts = [prompt.format(name) for name in names]
            parts = [
                self._model.encode_text(self._tokenizer(texts[i : i + 512]), normalize=True)
                for i in range(0, len(texts), 512)
            ]
            total = total + torch.cat(parts)
        return functional.normalize(total, dim=-1)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def accuracy(name: str, images: Tensor, classes: Tensor, truths: Tensor) -> Score:
    """Top-1 and top-5 of images [N, D] among classes [C, D]; truths int [N] holds the right class of each image."""
    ranked = (images @ classes.T).topk(min(5, len(classes)), dim=1).indices
    hits = ranked == truths[:, None]
    top1 = hits[:, 0].float().mean().item() * 100
    return Score(name, len(images), len(classes), top1, hits.any(dim=1).float().mean().item() * 100)


def _classes(names: Sequence[str]) -> tuple[list[str], Tensor]:
    """Distinct names in order of appearance, and the class of every entry."""
    distinct = list(dict.fromkeys(names))
    index = {name: row for row, name in enumerate(distinct)}
    return distinct, torch.tensor([index[name] for name in names])


def judge_noto(judge: Judge, work: Path, table: list[Emoji]) -> list[Score]:
    """All figures over the Noto pictures, none of which was trained on: names, CLDR labels, ten groups, each group."""
    vectors = judge.images([open_picture(picture, 64) for picture in noto_pictures(work, table)])
    scores = []
    for title, names in (("names", [e.name for e in table]), ("CLDR labels", [e.label for e in table])):
        distinct, truths = _classes(names)
        scores.append(accuracy(f"all {title}", vectors, judge.names(distinct), truths))
    groups, truths = _classes([emoji.group for emoji in table])
    scores.append(accuracy("ten groups", vectors, judge.names(groups), truths))
    for group in GROUPS.values():
        rows = [row for row, emoji in enumerate(table) if emoji.group == group]
        distinct, truths = _classes([table[row].name for row in rows])
        scores.append(accuracy(f"{group} names", vectors[rows], judge.names(distinct), truths))
    return scores


def judge_held_out(judge: Judge, corpus: Corpus) -> list[Score]:
    """Held-out openclipart over their own distinct titles (some are odd, many name several things: a low ceiling)."""
    kept = [row for row, code in enumerate(corpus.held_out.entities) if corpus.entities[code].names]
    pictures = [Image.fromarray(corpus.held_out.thumbnails[row]) for row in kept]
    distinct, truths = _classes([corpus.entities[corpus.held_out.entities[row]].names[0] for row in kept])
    return [accuracy("held-out openclipart titles", judge.images(pictures), judge.names(distinct), truths)]


def judge_nouns(judge: Judge, corpus: Corpus, nouns: Sequence[str]) -> list[Score]:
    """Held-out openclipart over a fixed list of nouns: right is any word of its own title, keywords or categories."""
    vectors, own = [], []
    for row, code in enumerate(corpus.held_out.entities):
        entity = corpus.entities[code]
        words = {word for text in (*entity.names, *entity.keywords, *entity.kinds) for word in (text, *text.split())}
        if words & set(nouns):
            vectors.append(Image.fromarray(corpus.held_out.thumbnails[row]))
            own.append(words)
    ranked = (judge.images(vectors) @ judge.names(nouns).T).topk(5, dim=1).indices.tolist()
    hits = torch.tensor([[nouns[column] in words for column in row] for row, words in zip(ranked, own, strict=True)])
    top1, top5 = hits[:, 0].float().mean().item() * 100, hits.any(dim=1).float().mean().item() * 100
    return [Score("held-out openclipart, own words among frequent nouns", len(own), len(nouns), top1, top5)]


def table_of(scores: Sequence[Score]) -> str:
    """A Markdown table of the figures."""
    lines = ["| figure | pictures | classes | top-1 % | top-5 % |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {s.name} | {s.count} | {s.classes} | {s.top1:.1f} | {s.top5:.1f} |" for s in scores]
    return "\n".join(lines)
