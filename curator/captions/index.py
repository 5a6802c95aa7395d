"""Owns approximate search through FAISS (an optional extra): kinds of index, their building and their recall.

Candidates of an index are scored again from the bank's own vectors. Knows no text and no encoder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curator.captions.facts import IndexFacts
from curator.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

logger = logging.getLogger(__name__)

KINDS: Final = ("ivf", "hnsw", "pq")
NO_INDEX: Final = "none"
RECALL: Final = 0.95
"""What is aimed at, of the ten best: the search widens until it is reached, or until there is no wider one."""

_SEED = 20
_TRAINED_ON = 64  # rows for each cell
_BLOCK_ROWS = 65_536
_CANDIDATES = 4  # times k are scored again
_WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@cache
def _loaded() -> Any:
    import faiss
    from threadpoolctl import ThreadpoolController

    # FAISS brings a BLAS of its own, whose threads would spin for each other beside all others of a worker.
    for library in ThreadpoolController().lib_controllers:
        if "faiss" in library.filepath and library.user_api == "blas":
            library.set_num_threads(1)
    return faiss


def faiss_module() -> Any:
    """FAISS, with threads as torch has them. ConfigError where it is not installed."""
    import torch

    try:
        faiss = _loaded()
    except ImportError as error:
        raise ConfigError(
            "an approximate index needs FAISS: pip install 'curator[faiss]', or search exactly"
        ) from error
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


def factory_of(kind: str, count: int, dim: int) -> str:
    """FAISS's description of an index of ``count`` vectors. ConfigError for an unknown kind."""
    cells = int(max(1, min(4 * count**0.5, 16_384, count / 39)))
    if kind == "ivf":
        return f"IVF{cells},SQ8"
    if kind == "pq":
        return f"IVF{cells},PQ{next(size for size in (dim // 4, dim // 8, 1) if size and dim % size == 0)}x8"
    if kind == "hnsw":
        return "HNSW32,SQ8"
    raise ConfigError(f"index {kind!r} is not known; use {', '.join((*KINDS, NO_INDEX))}")


class ApproximateSearch:
    """The k best of what the index finds among ``vectors`` float16 [N, D], scored in float32."""

    def __init__(self, path: Path, facts: IndexFacts, vectors: Tensor) -> None:
        faiss = faiss_module()
        try:
            self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise ConfigError(f"{path}: is not readable as an index ({error}); build the bank again") from error
        self._vectors = vectors
        _widen(self._index, facts.search)

    def __call__(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores float32 and rows int64, both [B, min(k, N)]; -inf and -1 where fewer are found."""
        return rescored(self._index, queries, self._vectors, k)


def rescored(index: Any, queries: Tensor, vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of the index's candidates for ``queries`` [B, D], as ``ApproximateSearch`` gives them."""
    import torch

    faiss_module()
    k = min(k, vectors.shape[0])
    host = queries.float().cpu()
    _, found = index.search(host.numpy(), min(_CANDIDATES * k, vectors.shape[0]))
    rows = torch.from_numpy(np.sort(found, axis=1))  # equal scores come in order of row
    scores = torch.einsum("bd,bcd->bc", host, vectors[rows.clamp(min=0)].float())
    scores = scores.masked_fill(rows < 0, -torch.inf)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return scores[:, :k].to(queries.device), rows.gather(1, order)[:, :k].to(queries.device)


def _widen(index: Any, search: Mapping[str, int]) -> None:
    faiss = faiss_module()
    space = faiss.ParameterSpace()
    for name, value in search.items():
        space.set_index_parameter(index, name, value)


def build_index(kind: str, vectors: Tensor, *, queries: int = 256) -> tuple[Any, str, dict[str, int], float]:
    """An index over ``vectors``: itself, its factory string, how to search it, and its recall@10 so.

    Queries are rows of the bank moved by noise of their own length (a cosine of 0.7 to where they were): a search for
    what the bank holds would flatter the index.
    """
    import torch

    from curator.kernels.nearest import nearest
    from curator.kernels.vectors import l2_normalize

    faiss = faiss_module()
    count, dim = vectors.shape
    factory = factory_of(kind, count, dim)
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    generator = torch.Generator().manual_seed(_SEED)
    if not index.is_trained:
        cells = int(factory.partition(",")[0].removeprefix("IVF")) if factory.startswith("IVF") else 0
        sample = torch.randperm(count, generator=generator)[: _TRAINED_ON * max(cells, 256)].sort().values
        index.train(vectors[sample].float().numpy())
    for start in range(0, count, _BLOCK_ROWS):
        index.add(vectors[start : start + _BLOCK_ROWS].float().numpy())
    picked = vectors[torch.randint(count, (queries,), generator=generator)].float()
    noise = l2_normalize(torch.randn(queries, dim, generator=generator))
    probes = l2_normalize(picked + noise)
    _, wanted = nearest(probes, vectors, 10)
    name = "efSearch" if kind == "hnsw" else "nprobe"
    recall, search = 0.0, {name: 1}
    for width in _WIDTHS:
        search = {name: width * 8 if kind == "hnsw" else width}
        _widen(index, search)
        recall = _recall(rescored(index, probes, vectors, 10)[1].numpy(), wanted.numpy())
        logger.info("index %s %s: recall@10 %.3f", factory, search, recall)
        if recall >= RECALL:
            break
    if recall < RECALL:
        logger.warning(
            "index %s reaches a recall@10 of %.3f only, at %s: is exact search too slow?", factory, recall, search
        )
    return index, factory, search, recall


def _recall(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """The share of wanted rows that are among those found."""
    hits = sum(len(set(some) & set(best)) for some, best in zip(found.tolist(), wanted.tolist(), strict=True))
    return hits / wanted.size
