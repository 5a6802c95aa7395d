"""NOVIC in a run over images and in one over its stored embeddings."""

from __future__ import annotations

from pathlib import Path

import torch

from curator.config import Config
from curator.encoder import Encoder
from curator.free.novic.model import Architecture, ObjectDecoder
from curator.free.novic.weights import Trained, to_bytes
from tests.curation import jobs

NOUNS = ("sky", "sea", "sea lion", "red car", "car")


def write_decoder(encoder: Encoder, path: Path) -> None:
    """An untrained decoder for the tiny encoder."""
    ids = encoder.spell(NOUNS)
    tokens = sorted({number for noun in ids for number in noun})
    spelled = tuple(tuple(tokens.index(number) + 1 for number in noun) for noun in ids)
    longest = max(map(len, spelled)) + 1
    torch.manual_seed(0)
    sizes = Architecture(
        dim=encoder.dim, tokens=len(tokens) + 1, longest=longest, width=32, layers=1, heads=2, feedforward=8
    )
    pieces = tuple(encoder.pieces(tokens))
    path.write_bytes(
        to_bytes(Trained(ObjectDecoder(sizes).eval(), encoder.digest, NOUNS, spelled, tuple(tokens), pieces, {}))
    )


def test_images_and_stored_embeddings_get_the_same_nouns(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    file = tmp_path / "decoder.safetensors"
    write_decoder(Encoder.open(f"local-dir:{tiny_encoder_dir}", precision="float32", device="cpu"), file)
    own = {"name": "noun", "method": "novic", "options": {"decoder": str(file), "top_k": 2}}
    guided = {**own, "name": "guided", "options": {"decoder": str(file), "guide": ["Car", "sea"], "exact": True}}
    source = jobs.make_source(tmp_path / "run", tiny_encoder_dir, free=[own, guided])
    config = jobs.relabel_config(source, tmp_path / "again")
    config = Config.model_validate({**config.model_dump(exclude_unset=True), "labels": [], "free": [own, guided]})
    assert jobs.run(config).status == "complete"
    before, after = jobs.table(source.output.url), jobs.table(tmp_path / "again")
    for name, count, words in (("noun", 2, set(NOUNS)), ("guided", 2, {"Car", "sea"})):
        found = [[row and [each["label"] for each in row] for row in run[name].to_pylist()] for run in (before, after)]
        assert found[0] == found[1]
        labelled = [row for row in found[0] if row]
        assert labelled
        assert all(len(row) == count and set(row) <= words for row in labelled)
