"""Owns how a batch is cut to what the device can hold. Knows nothing of the model behind the forward function."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from curator.errors import RetryableError

logger = logging.getLogger(__name__)


class Batching:
    """Runs ``forward`` over a batch in pieces that fit: running out of memory halves the piece and replays it.

    The piece that fitted is remembered for the batches that follow. With ``fixed_shapes`` every piece has the same
    number of rows (the largest seen so far): short ones are padded with zeros and the result is cut, so that a
    compiled ``forward`` never sees a new shape.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], *, fixed_shapes: bool = False) -> None:
        self._forward = forward
        self._fixed_shapes = fixed_shapes
        self._shape = 0
        self._limit: int | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        """``forward`` of ``batch`` [B, ...], B >= 1, rows in order. Raises RetryableError if one row does not fit."""
        rows = batch.shape[0]
        results: list[Tensor] = []
        start = 0
        while start < rows:
            size = min(rows - start, self._limit or rows)
            result = self._try(batch[start : start + size])
            if result is None:
                self._halve(size)
            else:
                results.append(result)
                start += size
        return results[0] if len(results) == 1 else torch.cat(results)

    def _try(self, piece: Tensor) -> Tensor | None:
        rows = piece.shape[0]
        if self._fixed_shapes:
            self._shape = max(self._shape, rows)
            if rows < self._shape:
                piece = torch.cat([piece, piece.new_zeros(self._shape - rows, *piece.shape[1:])])
        try:
            return self._forward(piece)[:rows]
        except RuntimeError as error:  # torch.OutOfMemoryError is one of these; the CPU allocator raises a plain one
            if not _is_out_of_memory(error):
                raise
            return None

    def _halve(self, rows: int) -> None:
        # Called after the except block: while the exception lived, its traceback kept the failed batch alive.
        if self._fixed_shapes:
            rows = self._shape
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if rows == 1:
            raise RetryableError(
                "a batch of one does not fit into the device's memory; free some, or use a smaller model"
            )
        self._limit = self._shape = rows // 2
        logger.warning("out of memory with %d rows: from now on at most %d at a time", rows, self._limit)


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text
