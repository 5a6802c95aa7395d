"""Owns the vectors of a gazetteer's entities: encoded once per node, kept in a file that its processes and runs share.

Knows no caption and no image.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from curator.annotators import Means
from curator.cache import cache_root, locked
from curator.entities.gazetteer import Entity, Gazetteer

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_FORMAT: Final = "curator-entity-vectors-1"
_ENTITIES_KEPT = 1 << 16
_ROWS_AT_ONCE = 8192
_MANY_ROWS = 50_000
_FILL_TIMEOUT_S = 6 * 3600.0


def entity_texts(entity: Entity, descriptions: bool) -> tuple[str, ...]:
    """The texts whose mean stands for an entity: its name, and the name with its description where it has one."""
    if descriptions and entity.description:
        return (entity.name, f"{entity.name}, {entity.description}")
    return (entity.name,)


class EntityVectors:
    """Unit vectors of entities by their rows in a gazetteer, encoded when they are first asked for on this node.

    What was encoded once is read from the file ever after, by every process and run with this gazetteer, encoder and
    precision. Each vector is rounded to float16, wherever it comes from: what is tagged does not depend on what was
    there before. Where no file can be kept, the run's own cache of texts has to do.
    """

    def __init__(self, gazetteer: Gazetteer, means: Means, *, descriptions: bool) -> None:
        self.entity = lru_cache(maxsize=_ENTITIES_KEPT)(gazetteer.entity)
        self._count = len(gazetteer)
        self._means = means
        self._descriptions = descriptions
        encoder = means.encoder
        key = f"{_FORMAT}\n{gazetteer.digest}\n{encoder.digest}\n{encoder.precision}\n{descriptions}"
        name = f"{hashlib.sha256(key.encode()).hexdigest()}.vectors"
        self._table = _Table(cache_root(means.cache_dir) / "entities" / name, self._count, encoder.dim)

    def __call__(self, rows: Sequence[int]) -> Tensor:
        """Float32 [len(rows), D] on the encoder's device, of different rows."""
        import torch

        wanted = np.asarray(rows, np.int64)
        found, known = self._table.read(wanted)
        missing = (~known).nonzero()[0]
        if len(missing):
            found[missing] = self._encoded(wanted[missing].tolist())
            self._table.write(wanted[missing], found[missing])
        return torch.from_numpy(found).to(self._means.encoder.device).float()

    def fill(self) -> None:
        """Encode all entities that are not there yet. Of several processes of a node one does, the others wait."""
        if self._table.count() < self._count:
            for _ in self._blocks():
                pass

    def all(self) -> Tensor:
        """Float32 [N, D] on the encoder's device: every entity of the gazetteer."""
        import torch

        return torch.cat(list(self._blocks()))

    def _blocks(self) -> Iterator[Tensor]:
        with locked(self._table.path.with_suffix(".lock"), timeout_s=_FILL_TIMEOUT_S):
            missing = self._count - self._table.count()
            if missing > _MANY_ROWS:
                logger.warning("embedding the texts of %d entities, which takes a while, and once only", missing)
            for start in range(0, self._count, _ROWS_AT_ONCE):
                yield self(range(start, min(start + _ROWS_AT_ONCE, self._count)))

    def _encoded(self, rows: Sequence[int]) -> NDArray[np.float16]:
        import torch

        from curator.kernels.entities import described

        texts = [entity_texts(self.entity(row), self._descriptions) for row in rows]
        both = [each[0] for each in texts] + [each[-1] for each in texts]
        order = sorted(range(len(both)), key=lambda place: len(both[place]))  # texts encoded together are padded alike
        vectors = self._means.texts([both[place] for place in order])
        vectors = vectors[torch.tensor(order, dtype=torch.int64, device=vectors.device).argsort()]
        return described(vectors[: len(texts)], vectors[len(texts) :]).half().cpu().numpy()


class _Table:
    """A file of N records: a vector float16 [D] and the CRC-32 of its bytes, without which it counts as missing.

    So a record that another process is writing, or that a crash left half, is never taken for a vector. Records are
    written by ``pwrite``, whose errors can be caught (a full disk), and read through a memory map.
    """

    def __init__(self, path: Path, count: int, dim: int) -> None:
        self.path = path
        self._record = np.dtype([("vector", "<f2", (dim,)), ("check", "<u4")])
        self._file: int | None = None
        self._records: NDArray[Any] = np.zeros(0, self._record)
        self._checked = np.zeros(count, np.bool_)
        size = count * self._record.itemsize
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if os.fstat(self._file).st_size < size:
                os.ftruncate(self._file, size)  # a hole: takes no room until vectors come
            self._records = np.frombuffer(mmap.mmap(self._file, size, prot=mmap.PROT_READ), self._record)
        except OSError as error:
            self._give_up(error)

    def count(self) -> int:
        """How many vectors there are, by their marks."""
        return int(np.count_nonzero(self._records["check"]))

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """Vectors [len(rows), D], and which of them are there."""
        if not len(self._records):
            return np.zeros((len(rows), self._record["vector"].shape[0]), np.float16), np.zeros(len(rows), np.bool_)
        found = self._records[rows]
        known = self._checked[rows]
        for place in (~known).nonzero()[0].tolist():
            check = int(found["check"][place])
            known[place] = check != 0 and zlib.crc32(found["vector"][place].tobytes()) == check
        self._checked[rows[known]] = True
        return found["vector"].copy(), known

    def write(self, rows: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        if self._file is None:
            return
        records = np.zeros(len(rows), self._record)
        records["vector"] = vectors
        records["check"] = [zlib.crc32(vector.tobytes()) for vector in vectors]
        try:
            for row, record in zip(rows.tolist(), records, strict=True):
                os.pwrite(self._file, record.tobytes(), row * self._record.itemsize)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.warning("entity vectors cannot be kept in %s (%s): every run will encode its own", self.path, error)
        self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self.close()
