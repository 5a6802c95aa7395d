"""What happens when the device runs out of memory, and that compiled functions see one shape."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from curator.encoder.batching import Batching
from curator.errors import RetryableError


class Device:
    """A forward function on a device that holds ``room`` rows; remembers the shapes it was given."""

    def __init__(self, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.room = room
        self.error = error
        self.seen: list[int] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.seen.append(len(batch))
        if len(batch) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return batch * 2


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("room", [1, 3, 8, 100])
@pytest.mark.parametrize("fixed", [False, True])
def test_every_row_comes_out_once_and_in_order(error: type[RuntimeError], room: int, fixed: bool) -> None:
    batching = Batching(Device(room, error), fixed_shapes=fixed)
    for rows in (13, 1, 8):
        batch = torch.arange(rows * 2).view(rows, 2)
        assert torch.equal(batching(batch), batch * 2)


def test_the_size_that_fitted_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(room=3)
    batching = Batching(device)
    with caplog.at_level(logging.WARNING):
        batching(torch.ones(16, 1))
    assert device.seen == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert [record.getMessage() for record in caplog.records][-1].endswith("at most 2 at a time")
    device.seen.clear()
    batching(torch.ones(5, 1))
    assert device.seen == [2, 2, 1]


def test_one_row_that_does_not_fit_may_pass_later() -> None:
    with pytest.raises(RetryableError, match="a batch of one does not fit"):
        Batching(Device(room=0))(torch.ones(4, 1))


def test_other_errors_are_not_taken_for_memory() -> None:
    def broken(batch: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Batching(broken)(torch.ones(2, 1))


def test_fixed_shapes_pad_the_short_batch() -> None:
    device = Device(room=100)
    batching = Batching(device, fixed_shapes=True)
    assert [len(batching(torch.ones(rows, 1))) for rows in (8, 3, 8, 1)] == [8, 3, 8, 1]
    assert device.seen == [8, 8, 8, 8]
