"""Fixtures of operations: those of the main job."""

from tests.run.conftest import shards, undisturbed

__all__ = ["shards", "undisturbed"]
