"""The embedded sample shards and the settings that label them. Owns no logic of labelling."""

from __future__ import annotations

from pathlib import Path

from curator.config import Config

HERE = Path(__file__).parent
FREE = {"words": "cased", "nouns": "novic"}
"""The columns of labels without a vocabulary, by the method that gives them."""


def demo_config(output: str) -> Config:
    """The main job on the sample shards: the demo's vocabulary, and two ways to labels without one (``FREE``)."""
    return Config.model_validate(
        {
            "input": {"urls": [str(HERE / "shards")]},
            "output": {"url": output},
            "labels": [{"vocabulary": str(HERE / "vocabulary.txt")}],
            "free": [{"name": name, "method": method} for name, method in FREE.items()],
        }
    )
