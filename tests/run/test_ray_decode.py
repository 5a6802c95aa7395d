"""Decoding on CPU-only Ray actors: the same pixels, rejects that cost no neighbour, deaths that cost no row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from curator.config import Config
from curator.data import Preprocess
from curator.engine.run import label
from curator.errors import ConfigError, RetryableError, SampleError
from curator.shards.decode import Decoder
from tests.builders import make_jpeg
from tests.run.jobs import Row, assert_same_rows, job_config, read_rows

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PREPROCESS = Preprocess((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_the_same_rows_as_with_threads(
    ray_cluster: None, shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    tree = job_config(shards, tiny_encoder_dir, tmp_path / "out", backend="ray").model_dump()
    tree["decode"] |= {"actors": 2, "threads": None}
    tree["ray"] |= {"workers": 1}
    summary = label(Config.model_validate(tree))
    assert summary.status == "complete"
    assert_same_rows(read_rows(tmp_path / "out"), undisturbed)


def test_outcomes_find_back_to_their_images_when_an_actor_dies(ray_cluster: None) -> None:
    import ray

    from curator.engine.backends.ray_decode import RayDecoder

    decode = Decoder(PREPROCESS)
    remote = RayDecoder(decode, actors=2, num_cpus=0.5)
    images = [make_jpeg(48, 40, seed=seed) if seed % 7 else b"not an image" for seed in range(200)]

    def outcome(data: bytes) -> np.ndarray | str:
        try:
            return remote(data).pixels
        except SampleError as error:
            return error.reason

    with ThreadPoolExecutor(16) as threads:
        first = list(threads.map(outcome, images[:50]))
        ray.kill(remote._members[0].handle)
        found = first + list(threads.map(outcome, images[50:]))
    remote.close()
    for data, got in zip(images, found, strict=True):
        if data == b"not an image":
            assert got == "not_an_image"
        else:
            np.testing.assert_array_equal(got, decode(data).pixels)


class _Deadly:
    def __call__(self, data: bytes) -> object:
        import os

        os._exit(1)


def test_an_image_that_kills_twice_is_its_shards_fault(ray_cluster: None) -> None:
    from curator.engine.backends.ray_decode import RayDecoder

    remote = RayDecoder(_Deadly(), actors=1, num_cpus=0.5)
    with pytest.raises(RetryableError, match="lost twice"):
        remote(b"poison")
    remote.close()


def test_actors_need_ray(shards: Path, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    tree = job_config(shards, tiny_encoder_dir, tmp_path / "out").model_dump()
    tree["decode"] |= {"actors": 2}
    with pytest.raises(ConfigError, match=r"run\.backend"):
        label(Config.model_validate(tree))
