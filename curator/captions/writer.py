"""Owns the writing of a bank's files: vectors and texts, row after row, to any storage. Knows no encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.captions.facts import TEXT_ROWS, BankFile
from curator.captions.search import npy_header
from curator.errors import CuratorError
from curator.storage.base import Storage
from curator.storage.urls import join

if TYPE_CHECKING:
    from numpy.typing import NDArray


_GATHER_BYTES = 2**20


class UploadFile:
    """A write-only file over an upload, that knows its size and digest. Small writes are gathered."""

    def __init__(self, storage: Storage, url: str) -> None:
        self.name = url.rpartition("/")[2]
        self.closed = False
        self._upload = storage.upload(url)
        self._hash = hashlib.sha256()
        self._size = 0
        self._gathered = bytearray()

    def write(self, data: Any) -> int:
        if not self.closed:  # Arrow's destructors write, too
            self._gathered += data
            if len(self._gathered) >= _GATHER_BYTES:
                self._send()
        return len(data)

    def tell(self) -> int:
        return self._size + len(self._gathered)

    def flush(self) -> None:
        """Nothing to do: bytes leave when enough have gathered."""

    def close(self) -> None:
        """Arrow closes what it wrote; publishing is ``commit``'s."""

    def commit(self) -> BankFile:
        self._send()
        self.closed = True
        self._upload.commit()
        return BankFile(self.name, self._size, self._hash.hexdigest())

    def abort(self) -> None:
        self.closed = True
        self._upload.abort()

    def _send(self) -> None:
        data = bytes(self._gathered)
        self._gathered.clear()
        self._hash.update(data)
        self._size += len(data)
        self._upload.write(data)


class BankWriter:
    """Writes ``count`` captions of ``dim`` dimensions in order; nothing is visible before ``commit``.

    The bytes depend on the rows and not on the portions that they come in. As a context manager it aborts unless
    committed.
    """

    def __init__(self, storage: Storage, url: str, *, name: str, dim: int, count: int) -> None:
        import pyarrow as pa

        self._dim = dim
        self._count = count
        self._rows = 0
        self._pending: list[str] = []
        self._schema = pa.schema([pa.field("text", pa.large_string(), nullable=False)])
        self._vectors = UploadFile(storage, join(url, f"vectors-{name}.npy"))
        self._texts = UploadFile(storage, join(url, f"texts-{name}.arrow"))
        self._vectors.write(npy_header((count, dim), "<f2"))
        self._arrow = pa.ipc.new_file(pa.PythonFile(self._texts, mode="w"), self._schema)

    def append(self, vectors: NDArray[np.float16], texts: Sequence[str]) -> None:
        """Add rows: ``vectors`` float16 [n, dim] and their texts."""
        if vectors.dtype != np.float16 or vectors.shape != (len(texts), self._dim):
            raise ValueError(
                f"{len(texts)} texts with {vectors.dtype} {vectors.shape}; float16 [n, {self._dim}] is due"
            )
        self._rows += len(texts)
        self._vectors.write(vectors.astype("<f2", copy=False).tobytes())
        self._pending += texts
        while len(self._pending) >= TEXT_ROWS:
            self._batch(self._pending[:TEXT_ROWS])
            del self._pending[:TEXT_ROWS]

    def commit(self) -> tuple[BankFile, BankFile]:
        """Publish both files; returns what ``bank.json`` tells of vectors and texts."""
        if self._rows != self._count:
            raise CuratorError(f"{self._vectors.name}: {self._rows} captions came where {self._count} were due")
        if self._pending:
            self._batch(self._pending)
        self._arrow.close()
        return self._vectors.commit(), self._texts.commit()

    def _batch(self, texts: Sequence[str]) -> None:
        import pyarrow as pa

        self._arrow.write_batch(pa.record_batch([pa.array(texts, pa.large_string())], schema=self._schema))

    def __enter__(self) -> BankWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._vectors, self._texts):
            if not file.closed:
                file.abort()
