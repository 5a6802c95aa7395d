"""A TensorFlow SavedModel's variables, zipped, as Keras writes dense layers: for tests of the reader."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    out, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def saved_model(tensors: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The zip of a SavedModel with these variables (names without Keras' ending); others than float32 are int64."""
    data, entries = b"", [(b"", b"\x08\x01")]
    for name in sorted(tensors):
        array = tensors[name]
        shape = b"".join(b"\x12" + varint(len(dim)) + dim for dim in (b"\x08" + varint(n) for n in array.shape))
        kind = 1 if array.dtype == np.float32 else 9
        value = b"\x08" + varint(kind) + b"\x12" + varint(len(shape)) + shape
        value += b"\x20" + varint(len(data)) + b"\x28" + varint(array.nbytes) + b"\x35\0\0\0\0"
        data += array.tobytes()
        entries.append((f"{name}/.ATTRIBUTES/VARIABLE_VALUE".encode(), value))
    half = len(entries) // 2
    index, handles = b"", []
    for part in (entries[:half], entries[half:]):
        block = _block(part)
        handles.append((part[-1][0], varint(len(index)) + varint(len(block))))
        index += block + b"\0" + b"crc!"
    offset, block = len(index), _block(handles)
    index += block + b"\0" + b"crc!"
    footer = varint(0) + varint(0) + varint(offset) + varint(len(block))
    index += footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/variables/variables.index", index)
        archive.writestr("m/variables/variables.data-00000-of-00001", data)
        archive.writestr("__MACOSX/m/variables/variables.index", b"")
    return out.getvalue()
