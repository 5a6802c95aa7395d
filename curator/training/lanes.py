"""Own the splitting of one step over CPU cores: each lane runs a share of the batch on one thread, start to end.

Torch's own threads meet at the end of every operation, which is slow as soon as anything else runs on the machine;
lanes meet twice a step. It refuses to know the loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

from curator.training.augment import augment
from curator.training.recipe import IMAGE_SIDE
from curator.training.towers import embed_images, embed_texts

Result = TypeVar("Result")


class Lanes:
    """Forward and backward passes of one model over `count` threads, with the same result for the same input and count.

    Every lane has a replica that shares the weights' memory but keeps its own gradients and batch-norm statistics; the
    statistics of all lanes are averaged after each step.
    """

    def __init__(self, model: nn.Module, count: int) -> None:
        self._replicas = [model, *(copy.deepcopy(model) for _ in range(count - 1))]
        for replica in self._replicas[1:]:
            for own, shared in zip(replica.parameters(), model.parameters(), strict=True):
                own.data = shared.data
        self._threads = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        self._vectors: list[tuple[Tensor, Tensor]] = []

    def train(self) -> None:
        """Put every replica into training mode."""
        for replica in self._replicas:
            replica.train()

    def forward(self, thumbnails: Tensor, mirror: Tensor, tokens: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Unit vectors of random views [N, D] and of captions [M, D], cut off from the towers' graphs.

        thumbnails uint8 [N, S, S, 4], mirror bool [N], tokens int64 [M, L]. N must be a multiple of the lanes.
        """
        count = len(self._replicas)
        shares = list(zip(thumbnails.chunk(count), mirror.chunk(count), tokens.chunk(count), strict=True))

        def lane(number: int) -> tuple[Tensor, Tensor]:
            generator = torch.Generator().manual_seed(seed * count + number)
            pictures, flippable, captions = shares[number]
            views = augment(pictures, IMAGE_SIDE, flippable, generator)
            return embed_images(self._replicas[number], views), embed_texts(self._replicas[number], captions)

        self._vectors = self._each(lane)
        images = torch.cat([images.detach() for images, _ in self._vectors]).requires_grad_()
        texts = torch.cat([texts.detach() for _, texts in self._vectors]).requires_grad_()
        return images, texts

    def backward(self, images: Tensor, texts: Tensor) -> None:
        """Carry the gradients of what `forward` returned through the towers, adding to the model's own gradients."""
        assert images.grad is not None
        assert texts.grad is not None
        image_parts = torch.split(images.grad, [len(vectors) for vectors, _ in self._vectors])
        text_parts = torch.split(texts.grad, [len(vectors) for _, vectors in self._vectors])

        def lane(number: int) -> tuple[Tensor | None, ...]:
            weights = [weight for weight in self._replicas[number].parameters() if weight.requires_grad]
            return torch.autograd.grad(
                self._vectors[number], weights, (image_parts[number], text_parts[number]), allow_unused=True
            )

        gradients = self._each(lane)
        weights = [weight for weight in self._replicas[0].parameters() if weight.requires_grad]
        for weight, *parts in zip(weights, *gradients, strict=True):
            for part in parts:
                if part is not None:
                    weight.grad = part if weight.grad is None else weight.grad.add_(part)
        self._vectors = []
        self._average_statistics()

    @torch.no_grad()
    def _average_statistics(self) -> None:
        for buffers in zip(*(replica.buffers() for replica in self._replicas), strict=True):
            if buffers[0].dtype.is_floating_point and len(buffers) > 1 and buffers[0].ndim == 1:
                mean = torch.stack(list(buffers)).mean(dim=0)
                for buffer in buffers:
                    buffer.copy_(mean)

    def copy_statistics(self) -> None:
        """Give every replica the statistics of the first, after weights were loaded into it."""
        for replica in self._replicas[1:]:
            for own, first in zip(replica.buffers(), self._replicas[0].buffers(), strict=True):
                own.copy_(first)

    def _each(self, work: Callable[[int], Result]) -> list[Result]:
        return list(self._threads.map(work, range(len(self._replicas))))
