"""What only a CUDA device can show; deselected by default, run with ``pytest -m gpu`` on a machine that has one.

The logic of these paths is tested without a device in ``tests/engine/test_staging.py`` and ``tests/encoder``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from curator.config import Config
from curator.encoder import Encoder
from curator.engine.run import label
from tests.run.jobs import Row, job_config, read_rows

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("precision", "floor"), [("float32", 0.9999), ("bfloat16", 0.995), ("float16", 0.999)])
def test_vectors_are_those_of_the_cpu(precision: str, floor: float, tiny_encoder_dir: Path) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8))
    expected = Encoder.open(f"local-dir:{tiny_encoder_dir}", precision="float32", device="cpu").embed_pixels(pixels)
    found = Encoder.open(f"local-dir:{tiny_encoder_dir}", precision=precision, device="cuda").embed_pixels(pixels)
    assert found.device.type == "cuda"
    assert (found.cpu() * expected).sum(dim=1).min() > floor


def test_the_main_job_gives_the_same_rows(
    shards: Path, tiny_encoder_dir: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    tree = job_config(shards, tiny_encoder_dir, tmp_path / "out").model_dump()
    tree["encoder"]["device"] = "cuda"
    assert label(Config.model_validate(tree)).status == "complete"
    rows = read_rows(tmp_path / "out")
    assert rows.keys() == undisturbed.keys()
    for identity, row in undisturbed.items():
        assert rows[identity].status == row.status
        if row.embedding is not None:
            assert float(np.dot(rows[identity].embedding, row.embedding)) > 0.999


def test_a_batch_too_large_for_the_device_is_halved(tiny_encoder_dir: Path) -> None:
    encoder = Encoder.open(f"local-dir:{tiny_encoder_dir}", precision="float32", device="cuda")
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        pixels = torch.zeros((200_000, 3, 32, 32), dtype=torch.uint8)
        assert len(encoder.embed_pixels(pixels)) == 200_000
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
