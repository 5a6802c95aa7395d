"""Approximate indexes: built with their recall, found again by the bank, and never a wrong score."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from curator.captions import CaptionBank, index
from curator.captions.facts import FACTS
from curator.captions.index import KINDS, RECALL, build_index, factory_of, rescored
from curator.config import Config
from curator.curation.bank import BankSettings
from curator.errors import ConfigError
from curator.kernels.vectors import l2_normalize
from curator.storage import open_storage
from tests.captions.banks import units
from tests.curation.bank_jobs import CAPTIONS, bank_config, built

pytest.importorskip("faiss")
STORAGE = open_storage()


def neighbourhoods(rows: int, dim: int) -> torch.Tensor:
    """Vectors in clusters, as captions are."""
    generator = torch.Generator().manual_seed(0)
    centres = units(rows // 50, dim, 1)
    return l2_normalize(centres[torch.randint(len(centres), (rows,), generator=generator)] + 0.5 * units(rows, dim, 2))


@pytest.mark.parametrize(
    "kind", [kind if kind != "pq" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_recall_is_told_and_scores_are_exact(kind: str) -> None:
    torch.set_num_threads(1)
    vectors = neighbourhoods(4000, 32).half()
    made, factory, search, recall = build_index(kind, vectors, queries=64)
    assert factory == factory_of(kind, 4000, 32)
    assert recall >= RECALL or kind == "pq"
    assert recall > 0.5
    queries = l2_normalize(vectors[:100].float() + units(100, 32, 3))
    scores, rows = rescored(made, queries, vectors, 10)
    assert (scores.dtype, scores.shape, rows.shape) == (torch.float32, (100, 10), (100, 10))
    exact = torch.einsum("bd,bkd->bk", queries, vectors[rows].float())
    torch.testing.assert_close(scores, exact)
    assert bool((scores[:, :-1] >= scores[:, 1:]).all())
    best = (queries @ vectors.float().T).topk(10).indices
    found = sum(len(set(a) & set(b)) for a, b in zip(rows.tolist(), best.tolist(), strict=True)) / 1000
    assert abs(found - recall) < 0.15, "the recall that was told holds for other queries"
    assert list(search) == ["efSearch" if kind == "hnsw" else "nprobe"]


@pytest.fixture
def config(tmp_path: Path, tiny_encoder_dir: Path) -> Config:
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    return bank_config(tmp_path / "captions.txt", tiny_encoder_dir, tmp_path / "bank", tmp_path / "cache")


def test_a_bank_with_an_index(config: Config, tmp_path: Path) -> None:
    plain = built(config)
    facts = built(config, BankSettings(index="ivf", lease_bytes=600))
    assert facts.index is not None
    assert replace(facts, index=None) == plain, "the index changes nothing else"
    assert facts.index.recall_at_10 >= RECALL
    assert (tmp_path / "bank" / facts.index.file.name).stat().st_size == facts.index.file.size
    bank = CaptionBank.open(str(tmp_path / "bank"), STORAGE)
    exact = CaptionBank.open(str(tmp_path / "bank"), STORAGE, exact=True)
    queries = exact.vectors([3, 30])
    for opened in (bank, exact):
        scores, rows = opened.search(queries, 3)
        assert rows[:, 0].tolist() == [3, 30]
        torch.testing.assert_close(scores[:, 0], torch.ones(2), atol=1e-3, rtol=0)
    scores, rows = bank.search(queries, 1000)
    assert rows.shape == (2, len(CAPTIONS))
    assert bool(((rows < 0) == scores.isinf()).all()), "what an index does not reach is no row"
    assert built(config, BankSettings(index="none", lease_bytes=600)) == plain
    assert not list((tmp_path / "bank").glob("index-*"))


def test_faiss_is_asked_for_before_the_work(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = built(config, BankSettings(index="hnsw", lease_bytes=600))
    monkeypatch.setitem(sys.modules, "faiss", None)
    index._loaded.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'curator\[faiss\]'"):
        built(config, BankSettings(index="ivf"))
    with pytest.raises(ConfigError, match=r"pip install 'curator\[faiss\]'"):
        CaptionBank.open(str(tmp_path / "bank"), STORAGE)
    assert len(CaptionBank.open(str(tmp_path / "bank"), STORAGE, exact=True)) == facts.count
    (tmp_path / "bank" / FACTS).unlink()
