"""How to reach storage, as one picklable value. Owns the settings and their bounds; holds no credentials, ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from curator.errors import ConfigError

MIB = 1024 * 1024
BUILT_IN_SCHEMES = ("file", "s3", "http", "https", "memory")
FSSPEC_SCHEMES = ("gs", "gcs", "az", "abfs", "abfss", "hf")


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """Settings of every backend. Credentials come from boto3's own chain (environment, profile, instance role).

    ``attempts`` bounds the tries of one request, ``connect_timeout_s`` and ``read_timeout_s`` each wait in it, so that
    a request ends within ``attempts * (connect_timeout_s + read_timeout_s)`` plus backoff. ``read_timeout_s`` is the
    longest silence, not the length of a download. ``part_bytes`` is the size of multipart parts and of parallel ranged
    reads; a stream keeps at most ``read_ahead_parts`` of them in memory (0 reads serially).
    ``conditional_writes=False`` is for S3 endpoints that do not know ``If-None-Match`` on PUT (see storage/s3.py).
    """

    endpoint_url: str | None = None
    region: str | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    anonymous: bool = False
    profile: str | None = None
    requester_pays: bool = False
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    attempts: int = 5
    backoff_s: float = 0.5
    backoff_cap_s: float = 20.0
    pool_connections: int = 32
    part_bytes: int = 16 * MIB
    read_ahead_parts: int = 4
    conditional_writes: bool = True
    schemes: tuple[str, ...] = BUILT_IN_SCHEMES + FSSPEC_SCHEMES

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s", "attempts", "pool_connections", "part_bytes"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"storage: {name} is {getattr(self, name)}; give a number above 0")
        for name in ("backoff_s", "backoff_cap_s", "read_ahead_parts"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"storage: {name} is {getattr(self, name)}; give 0 or more")
        if self.addressing_style not in ("auto", "path", "virtual"):
            raise ConfigError(f"storage: addressing_style {self.addressing_style!r} is not one of auto, path, virtual")
        if self.endpoint_url is not None:
            endpoint = urlsplit(self.endpoint_url)
            if endpoint.scheme not in ("http", "https") or not endpoint.hostname:
                raise ConfigError("storage: endpoint_url must be a url such as https://minio.example:9000")
            if "@" in endpoint.netloc:
                raise ConfigError("storage: endpoint_url holds user info; put credentials where boto3 looks for them")
