"""The embedded sample shards and the settings that label them. Owns no logic of labelling."""

from __future__ import annotations

from pathlib import Path

from curator.config import Config

HERE = Path(__file__).parent


def demo_config(output: str) -> Config:
    """The main job on the sample shards, with the embedded encoder and the demo's vocabulary."""
    return Config.model_validate(
        {
            "input": {"urls": [str(HERE / "shards")]},
            "output": {"url": output},
            "labels": [{"vocabulary": str(HERE / "vocabulary.txt")}],
        }
    )
