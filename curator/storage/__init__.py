"""Objects by url, wherever they are. Owns the translation of foreign errors into verdicts; knows no tar, no Parquet."""

from __future__ import annotations

from curator.errors import ConfigError
from curator.storage.base import Entry, ReadStream, Storage, Upload
from curator.storage.local import LocalStorage
from curator.storage.memory import MemoryStorage
from curator.storage.options import StorageOptions
from curator.storage.resume import resuming
from curator.storage.router import Router
from curator.storage.urls import join, redact

__all__ = [
    "Entry",
    "LocalStorage",
    "MemoryStorage",
    "ReadStream",
    "Router",
    "Storage",
    "StorageOptions",
    "Upload",
    "join",
    "open_storage",
    "redact",
    "resuming",
]


def open_storage(options: StorageOptions | None = None) -> Router:
    """A Storage over every allowed scheme. Opens no connection and reads no credentials until a url asks for them."""
    if options is not None and not isinstance(options, StorageOptions):
        raise ConfigError(f"open_storage takes StorageOptions, such as StorageOptions(region='…'), not {options!r:.60}")
    return Router(options or StorageOptions())
