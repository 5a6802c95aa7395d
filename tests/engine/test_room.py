"""Room: bounds that hold, an image too large for them that still passes, and nobody left waiting."""

from __future__ import annotations

import random
import threading
import time

from curator.engine.room import Room


def test_bounds_images_and_bytes() -> None:
    room = Room(2, 100)
    assert room.enter(60)
    assert not room.enter(60), "too many bytes"
    assert room.enter(40)
    assert not room.enter(0), "too many images"
    room.decoded(60)
    assert not room.enter(1), "decoded, but still under way"
    room.leave()
    assert room.enter(60)


def test_an_image_larger_than_the_bound_passes_alone() -> None:
    room = Room(4, 100)
    assert room.enter(10)
    assert not room.enter(1000)
    room.decoded(10)
    assert room.enter(1000)
    assert not room.enter(1)


def test_bounds_hold_between_threads_and_all_get_in() -> None:
    room = Room(5, 1000)
    inside = [0, 0]
    worst = [0, 0]
    lock = threading.Lock()

    def visit(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(20):
            size = draw.randrange(1, 600)
            while not room.enter(size, timeout_s=60.0):
                raise AssertionError("left waiting")
            with lock:
                inside[0] += 1
                inside[1] += size
                worst[:] = [max(worst[0], inside[0]), max(worst[1], inside[1])]
            time.sleep(0.0005)
            with lock:
                inside[1] -= size
            room.decoded(size)
            with lock:
                inside[0] -= 1
            room.leave()

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not any(thread.is_alive() for thread in threads)
    assert worst[0] <= 5
    assert worst[1] <= 1000
