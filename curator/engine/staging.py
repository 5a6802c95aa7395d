"""Host memory that batches are gathered in on their way to the device. Knows no queue, no lease and no model.

On CUDA the buffers are pinned and used in turn, so that gathering and copying a batch overlap the forward of the one
before; a buffer is used again only when the device is past the copy that read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Event(Protocol):
    """A point in the device's work that can be waited for (``torch.cuda.Event``)."""

    def record(self) -> None: ...

    def synchronize(self) -> None: ...


class Staging:
    """``buffers`` of [batch_size, 3, H, W] uint8, allocated with the first batch."""

    def __init__(
        self, batch_size: int, *, pinned: bool = False, buffers: int = 3, event: Callable[[], Event] | None = None
    ) -> None:
        """``event`` makes the device's events; None where the device works in step with the host (a CPU)."""
        self._batch_size = batch_size
        self._pinned = pinned
        self._event = event
        self._buffers: list[Tensor] = []
        self._events: list[Event | None] = [None] * (buffers if event else 1)
        self._turn = 0

    def gather(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """The pictures as one batch uint8 [n, 3, H, W], a view of a buffer.

        It stays whole until as many batches have been marked as there are buffers.
        """
        if not self._buffers:
            shape = (self._batch_size, *pictures[0].shape)
            self._buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned) for _ in self._events]
        last = self._events[self._turn]
        if last is not None:
            last.synchronize()
        buffer = self._buffers[self._turn]
        for place, picture in enumerate(pictures):
            buffer[place] = torch.from_numpy(picture)
        return buffer[: len(pictures)]

    def mark(self) -> Event | None:
        """Say that the device's work on the gathered batch has been given; the event tells when it is done."""
        event = None
        if self._event is not None:
            event = self._event()
            event.record()
        self._events[self._turn] = event
        self._turn = (self._turn + 1) % len(self._events)
        return event
