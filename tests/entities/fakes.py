"""Gazetteers of a few entities, and what a worker offers to an annotator, around a text encoder without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from curator.annotators import AnnotatorSpec, Means, TextVectors
from curator.data import Embeddings
from curator.entities.building import SourceEntity, build
from curator.entities.gazetteer import Gazetteer
from curator.entities.rules import Rules
from curator.kernels.vectors import l2_normalize
from curator.storage import open_storage
from tests.labels.fakes import HashEncoder


class HashDevice(HashEncoder):
    """A hash encoder that says where its vectors are."""

    device = torch.device("cpu")


def make(path: Path, *entities: SourceEntity, rules: Rules | None = None) -> Gazetteer:
    build(entities, path, rules or Rules(frozenset({"the", "of", "a"})), {"kind": "test"})
    return Gazetteer.open(path)


def named(path: Path, *names: str) -> Gazetteer:
    """A gazetteer of entities without other aliases: the n-th name has the id ``En``."""
    return make(path, *(SourceEntity(f"E{place}", name) for place, name in enumerate(names)))


def means_of(encoder: HashDevice, cache_dir: Path | None = None) -> Means:
    return Means(encoder, TextVectors(encoder), open_storage(), cache_dir and str(cache_dir), 1)


def spec_of(method: str, **options: object) -> AnnotatorSpec:
    return AnnotatorSpec("things", method, options)


def images_like(vectors: Sequence[Tensor], captions: Sequence[str | None]) -> Embeddings:
    """Images whose embeddings are ``vectors``, scaled to unit length."""
    stacked = l2_normalize(torch.stack(list(vectors))) if vectors else torch.zeros(0, 16)
    return Embeddings(stacked, captions, [None] * len(captions))
