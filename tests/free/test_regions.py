"""Words of places: over patches by hand, in a run over images, and refused where there are no patches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from curator.config import Config
from curator.data import Embeddings, Labels, TextBank
from curator.errors import ConfigError
from curator.free.cased import Cased
from curator.free.pos import open_filter
from curator.free.regions import Regions
from curator.kernels.vectors import l2_normalize
from curator.storage import MemoryStorage
from tests.curation import jobs
from tests.free.fakes import FakeBank, Speaker, means, spec
from tests.free.test_cased import rows_of

WORDS = ("dog", "sea", "tree")


def scene(encoder: Speaker) -> Embeddings:
    """Two images of two by two patches: three of them sea and one dog; and two of each of dog and tree."""
    words = [["sea", "sea", "dog", "sea"], ["tree", "dog", "tree", "dog"]]
    patches = torch.stack([encoder.embed_text(row).view(2, 2, -1) for row in words])
    vectors = l2_normalize(patches.flatten(1, 2).mean(dim=1))
    return Embeddings(vectors, [None] * 2, [None] * 2, patches=patches)


def test_each_patch_gets_its_nearest_word_and_the_image_their_shares() -> None:
    encoder = Speaker()
    bank = TextBank(WORDS, WORDS, encoder.embed_text(WORDS), "digest")
    found = Regions(spec("regions"), means(encoder), bank, None)(scene(encoder))
    assert found["free_map"] == [["sea", "sea", "dog", "sea"], ["tree", "dog", "tree", "dog"]]
    assert isinstance(found["free"], Labels)
    assert rows_of(found["free"]) == [[("sea", 0.75), ("dog", 0.25)], [("dog", 0.5), ("tree", 0.5)]]


def test_a_patch_of_two_minds_gets_no_word() -> None:
    encoder = Speaker(same={"ocean": "sea"})
    words = (*WORDS, "ocean")
    bank = TextBank(words, words, encoder.embed_text(words), "digest")
    found = Regions(spec("regions", min_score=0.6), means(encoder), bank, None)(scene(encoder))
    assert found["free_map"] == [["", "", "dog", ""], ["tree", "dog", "tree", "dog"]]
    assert isinstance(found["free"], Labels)
    assert rows_of(found["free"])[0] == [("dog", 0.25)]


def test_with_a_bank_only_words_of_the_images_captions_are_given() -> None:
    encoder = Speaker(same={"a dog at sea": "dog", "a dog under a tree": "tree"})
    captions = ["a dog at sea", "a dog under a tree"]
    bank = FakeBank(captions, scene(encoder).vectors)
    retrieval = Cased(spec("cased", captions=1), means(encoder), bank, open_filter("wordnet"))
    found = Regions(spec("regions", bank="b"), means(encoder), None, retrieval)(scene(encoder))
    assert found["free_map"] == [["sea", "sea", "dog", "sea"], ["tree", "dog", "tree", "dog"]]


def test_a_run_over_images_maps_them(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    free = {"name": "places", "method": "regions", "options": {"words": list(WORDS), "top_k": 2}}
    source = jobs.make_source(tmp_path, tiny_encoder_dir, free=[free])
    rows = jobs.table(source.output.url).to_pylist()
    mapped = [row for row in rows if row["status"] == "ok"]
    assert mapped
    for row in mapped:
        assert len(row["places_map"]) == 16
        best = row["places"][0]
        assert best["score"] == pytest.approx(row["places_map"].count(best["label"]) / 16)
    config = jobs.relabel_config(source, tmp_path / "again")
    config = Config.model_validate({**config.model_dump(exclude_unset=True), "labels": [], "free": [free]})
    with pytest.raises(ConfigError, match="needs patches of the images"):
        jobs.run(config)


def test_an_encoder_without_patches_is_refused() -> None:
    with pytest.raises(ConfigError, match="this encoder gives no patches"):
        Regions.open(spec("regions", words=["dog"]), means(Speaker()))
    with pytest.raises(ConfigError, match="words and bank exclude each other"):
        Regions.read(spec("regions", words=["dog"], bank="b"), MemoryStorage())
