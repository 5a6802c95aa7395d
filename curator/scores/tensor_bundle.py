"""Owns the reading of TensorFlow's variables files without TensorFlow: an uncompressed table of names over raw numbers.

Format: tensorflow/core/util/tensor_bundle (index: a LevelDB table of BundleEntryProto). Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curator.errors import ConfigError

_FLOAT32 = 1
_FOOTER_BYTES = 48


def read_bundle(index: bytes, data: bytes, place: str) -> dict[str, Tensor]:
    """The float32 tensors by name; those of other types are left out. ConfigError for a file of another format."""
    try:
        return dict(_tensors(index, data))
    except (IndexError, ValueError, KeyError) as error:
        raise ConfigError(f"{place}: its variables.index is not an uncompressed tensor bundle: {error!r}") from error


def _tensors(index: bytes, data: bytes) -> Iterator[tuple[str, Tensor]]:
    footer = index[-_FOOTER_BYTES:]
    _, at = _varint(footer, 0)
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    for _, handle in _block(index, offset, size):
        block_offset, at = _varint(handle, 0)
        block_size, _ = _varint(handle, at)
        for key, value in _block(index, block_offset, block_size):
            entry = _message(value)
            if not key or entry.get(1) != _FLOAT32:
                continue
            dims = [_message(dim).get(1, 0) for dim in _repeated(entry.get(2, b""), 2)]
            start, length = entry.get(4, 0), entry[5]
            numbers = np.frombuffer(data[start : start + length], "<f4").reshape(dims)
            yield key.decode(), torch.from_numpy(numbers.copy())


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block; keys share beginnings with the one before."""
    block = index[offset : offset + size]
    if index[offset + size] != 0:
        raise ValueError("the block is compressed")
    restarts = int.from_bytes(block[-4:], "little")
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Fields of a protocol buffer: numbers, and bytes for what is nested."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _message(data: bytes) -> dict[int, Any]:
    return dict(_fields(data))


def _repeated(data: bytes, number: int) -> list[bytes]:
    return [value for field, value in _fields(data) if field == number and isinstance(value, bytes)]
