"""From a Config to the pool that decodes a worker's images: in processes, threads, or on Ray actors of its own.

Part of the composition; runs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from curator.errors import ConfigError

if TYPE_CHECKING:
    from curator.config import Config
    from curator.data import Preprocess
    from curator.engine.decode_nursery import Nursery
    from curator.engine.decoding import DecodePool
    from curator.shards.decode import Decoder

logger = logging.getLogger(__name__)


def decoder_of(config: Config, preprocess: Preprocess) -> Decoder:
    from curator.shards.decode import Decoder

    settings = config.decode
    return Decoder(
        preprocess,
        mode=settings.mode,
        max_pixels=settings.max_pixels,
        exif_orientation=settings.exif_orientation,
    )


def open_decoding(config: Config, preprocess: Preprocess, cores: int) -> Callable[[], DecodePool]:
    """Begin to start what decodes a worker's images; the pool itself comes of a call, which waits until it can be had.

    ``auto`` are processes where there is more than one to decode beside each other, and threads where processes cannot
    be had, which is said. Raises ConfigError, now or then.
    """
    settings = config.decode
    decode = decoder_of(config, preprocess)
    if settings.actors:
        return lambda: _on_actors(config, decode)
    slots = settings.threads or cores
    if settings.workers == "threads" or (settings.workers == "auto" and slots == 1):
        return lambda: _threads(config, decode, slots)
    from curator.engine.decode_nursery import Nursery, NurseryError

    shape = (3, *preprocess.size)
    nursery: Nursery | NurseryError
    try:
        nursery = Nursery(decode, shape)
    except NurseryError as error:
        nursery = error
    return lambda: _processes(config, decode, slots, nursery)


def _threads(config: Config, decode: Decoder, threads: int) -> DecodePool:
    from curator.engine.decoding import DecodeThreads

    return DecodeThreads(decode, threads=threads, limit_s=config.decode.image_limit_s)


def _processes(config: Config, decode: Decoder, slots: int, nursery: Nursery | Exception) -> DecodePool:
    from curator.engine.decode_nursery import NurseryError
    from curator.engine.decode_processes import DecodeProcesses

    try:
        if isinstance(nursery, Exception):
            raise nursery
        return DecodeProcesses(nursery, slots=slots, limit_s=config.decode.image_limit_s)
    except NurseryError as error:
        if config.decode.workers == "processes":
            raise ConfigError(f"{error}; set decode.workers to threads") from error
        logger.warning("%s: images are decoded in threads, which is slower (decode.workers)", error)
        return _threads(config, decode, slots)


def _on_actors(config: Config, decode: Decoder) -> DecodePool:
    from curator.engine.backends.ray_decode import RayDecoder, threads_for
    from curator.engine.decoding import DecodeThreads

    actors = config.decode.actors
    remote = RayDecoder(decode, actors=actors, deadline_s=config.run.stall_s)
    threads = config.decode.threads or threads_for(actors)
    return DecodeThreads(remote, threads=threads, limit_s=config.decode.image_limit_s)
