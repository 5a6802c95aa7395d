"""A bank kept in a GPU's memory gives what the CPU gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from curator.captions import CaptionBank
from curator.captions import search as searching
from curator.storage import open_storage
from tests.captions.banks import units, write_bank

pytestmark = pytest.mark.gpu


def test_the_same_rows_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bank(open_storage(), str(tmp_path), units(50_000, 64))
    bank = CaptionBank.open(str(tmp_path), open_storage(), tmp_path / "cache")
    queries = units(100, 64, 1)
    scores, rows = bank.search(queries, 10)
    near, found = bank.search(queries.cuda(), 10)
    assert near.device.type == found.device.type == "cuda"
    torch.testing.assert_close(near.cpu(), scores, atol=1e-5, rtol=0)
    assert (found.cpu() == rows).float().mean() > 0.999
    monkeypatch.setattr(searching, "_GPU_SHARE", 0.0)
    crowded = CaptionBank.open(str(tmp_path), open_storage(), tmp_path / "cache")
    near, found = crowded.search(queries.cuda(), 10)
    assert torch.equal(found.cpu(), rows), "where the GPU has no room, the CPU searches"
    assert near.device.type == "cuda"
