"""Owns the exact search of a mapped bank on this node: which way is fastest here, and the rounded copy that it needs.

Knows the arithmetic only as a kernel, and no text.
"""

from __future__ import annotations

import io
import logging
import mmap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curator.cache import locked, replacing

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_SMALL_NUMBERS = 1 << 23  # of a bank that is kept in float32: 32 MiB
_BLOCK_NUMBERS = 1 << 20
_GPU_SHARE = 0.5  # of the free memory of a GPU, for a bank to be kept there
_TIMEOUT_S = 3600.0


def map_rows(path: Path, *, scattered: bool = False) -> Tensor:
    """A .npy file of two-byte numbers [N, D] as a tensor over its pages. Copy-on-write, and nothing writes.

    ``scattered`` tells the system that rows will be read here and there: it then reads no pages ahead.
    """
    import torch

    mapped = np.load(path, mmap_mode="c")
    if scattered and hasattr(mmap, "MADV_RANDOM"):
        mapped._mmap.madvise(mmap.MADV_RANDOM)
    if mapped.dtype == np.float16:
        return torch.from_numpy(mapped)
    return torch.from_numpy(mapped.view(np.int16)).view(torch.bfloat16)


def npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    """What a .npy file of this shape begins with."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


class ExactSearch:
    """The k best rows of the bank at ``path``, float16 [N, D]; ``cache`` is where its rounded copy may be kept.

    A small bank is held in float32. A larger one is sifted in bfloat16 where the CPU multiplies it: that copy, as large
    as the bank, is made once a node, mapped like the bank, and of the bank itself only few pages are then read. On a
    GPU the bank is kept in its memory where that has room.
    """

    def __init__(self, path: Path, cache: Path) -> None:
        self._path = path
        self._bank = map_rows(path)
        self._copy = cache / "bfloat16.npy"
        self._ready = False
        self._lock = threading.Lock()
        self._coarse: Tensor | None = None
        self._resident: dict[str, Tensor] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """What every search reads from end to end, beside rows of the bank itself."""
        return (self._copy,) if self._copy.is_file() and multiplies_bfloat16() else ()

    def __call__(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores float32 and rows int64, both [B, min(k, N)], on the queries' device."""
        from curator.kernels.nearest import nearest

        if queries.device.type != "cpu" and (kept := self._on_device(queries)) is not None:
            return nearest(queries, kept, k)
        self._prepare()
        scores, rows = nearest(queries.cpu(), self._bank, k, coarse=self._coarse)
        return scores.to(queries.device), rows.to(queries.device)

    def _on_device(self, queries: Tensor) -> Tensor | None:
        import torch

        name = str(queries.device)
        with self._lock:
            if name not in self._resident:
                free, _ = torch.cuda.mem_get_info(queries.device)
                if self._bank.nbytes > _GPU_SHARE * free:
                    return None
                self._resident[name] = self._bank.to(queries.device)
            return self._resident[name]

    def _prepare(self) -> None:
        with self._lock:
            if self._ready:
                return
            if self._bank.numel() <= _SMALL_NUMBERS:
                self._bank = self._bank.float()
            elif multiplies_bfloat16():
                self._coarse = self._rounded()
                if self._coarse is not None:
                    self._bank = map_rows(self._path, scattered=True)
            self._ready = True

    def _rounded(self) -> Tensor | None:
        path = self._copy
        try:
            if not path.is_file():
                with locked(path.with_suffix(".lock"), timeout_s=_TIMEOUT_S):
                    if not path.is_file():
                        _round(self._bank, path)
            rounded = map_rows(path)
        except (OSError, ValueError) as error:
            logger.warning("no rounded copy of the bank at %s (%s): its search is some times slower", path, error)
            return None
        return rounded if rounded.shape == self._bank.shape else None


def _round(bank: Tensor, path: Path) -> None:
    """Write ``bank`` in bfloat16, as the bits of it: NumPy has no such number."""
    import torch

    rows = max(1, _BLOCK_NUMBERS // bank.shape[1])
    with replacing(path) as part, part.open("wb") as file:
        file.write(npy_header(tuple(bank.shape), "<i2"))
        for start in range(0, bank.shape[0], rows):
            file.write(bank[start : start + rows].float().bfloat16().view(torch.int16).numpy().tobytes())


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16."""
    import torch

    # torch has no public query for these; where a release drops the private one, float32 is the safe answer.
    queries = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, query, bool)()) for query in queries)
