"""A memory storage with a space to itself for each test."""

from __future__ import annotations

import uuid

import pytest

from curator.storage import MemoryStorage


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def output() -> str:
    return f"memory://{uuid.uuid4().hex}/out"
