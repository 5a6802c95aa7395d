"""Staging buffers: what is gathered is what was given, and no buffer is written while the device may still read it."""

from __future__ import annotations

import numpy as np
import torch

from curator.engine.staging import Staging


class FakeEvent:
    """An event of a device that lags behind: it is reached only when somebody waits for it."""

    log: list[str]

    def __init__(self, log: list[str], name: int) -> None:
        self._log = log
        self._name = name
        self.reached = False

    def record(self) -> None:
        self._log.append(f"record {self._name}")

    def synchronize(self) -> None:
        self._log.append(f"wait {self._name}")
        self.reached = True


def pictures(count: int, value: int) -> list[np.ndarray]:
    return [np.full((3, 4, 5), value + place, np.uint8) for place in range(count)]


def test_gathers_in_order_and_reuses_one_buffer_in_step_with_the_host() -> None:
    staging = Staging(4)
    first = staging.gather(pictures(4, 10))
    assert first.shape == (4, 3, 4, 5)
    assert [int(picture[0, 0, 0]) for picture in first] == [10, 11, 12, 13]
    assert staging.mark() is None
    second = staging.gather(pictures(2, 50))
    assert second.shape == (2, 3, 4, 5)
    assert second.data_ptr() == first.data_ptr()


def test_a_buffer_waits_for_the_copy_that_read_it() -> None:
    log: list[str] = []
    events: list[FakeEvent] = []

    def event() -> FakeEvent:
        events.append(FakeEvent(log, len(events)))
        return events[-1]

    staging = Staging(2, buffers=2, event=event)
    pointers = []
    kept: list[torch.Tensor] = []
    for turn in range(4):
        batch = staging.gather(pictures(2, 10 * turn))
        pointers.append(batch.data_ptr())
        kept.append(batch)
        staging.mark()
        if turn == 1:
            assert [int(picture[0, 0, 0]) for picture in kept[0]] == [0, 1], "the first batch is still whole"
    assert pointers[0] == pointers[2] != pointers[1] == pointers[3]
    assert log == ["record 0", "record 1", "wait 0", "record 2", "wait 1", "record 3"]
