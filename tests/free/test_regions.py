"""Words of places: over patches by hand, in a run over images, and refused where there are no patches."""

from __future__ import annotations

from itertools import product
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
from curator.storage import MemoryStorage, open_storage
from tests.captions.banks import write_bank
from tests.curation import jobs
from tests.free.fakes import FakeBank, Speaker, means, spec
from tests.free.test_cased import rows_of
from tests.run.jobs import open_encoder

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


def quarters(encoder: Speaker) -> Embeddings:
    """An image of four by four patches, of which every quarter shows something else and one patch something odd."""
    names = [["dog", "sea"], ["tree", "boat"]]
    words = [[names[row // 2][column // 2] for column in range(4)] for row in range(4)]
    words[0][0] = "hat"
    patches = torch.stack([encoder.embed_text(row) for row in words])[None]
    return Embeddings(l2_normalize(patches.flatten(1, 2).mean(dim=1)), [None], [None], patches=patches)


def test_cells_find_captions_of_their_own() -> None:
    encoder = Speaker()
    captions = ["a dog with a hat", "the sea", "a tree", "a boat"]
    near = ["dog", "sea", "tree", "boat"]
    bank = FakeBank(captions, encoder.embed_text(near))
    picture = quarters(encoder)

    def mapped(**options: object) -> list[str]:
        retrieval = Cased(spec("regions", captions=1), means(encoder), bank, open_filter("wordnet"))
        found = Regions(spec("regions", bank="b", **options), means(encoder), None, retrieval)(picture)
        rows = found["free_map"]
        assert isinstance(rows[0], list)
        return rows[0]

    top = ["dog", "dog", "sea", "sea"]
    assert mapped(cells=2) == ["hat", *top[1:], *top, *(["tree"] * 2 + ["boat"] * 2) * 2]
    assert len(set(mapped()) & set(near)) == 1, "the one caption of the whole image speaks of one quarter"
    assert mapped(cells=2, alpha=0.0)[0] == "dog", "by its captions alone a cell is one thing"
    assert mapped(cells=64)[5:] == mapped(cells=4)[5:], "there are no more cells than patches"
    assert bank.searches == 5


def test_scores_are_those_of_cased_on_the_patch_and_its_cells_captions() -> None:
    encoder = Speaker(dim=8)
    captions = ["a dog at sea", "a dog under a tree", "the sea"]
    bank = FakeBank(captions, torch.stack([encoder.vector(text) for text in captions]))
    generator = torch.Generator().manual_seed(1)
    patches = l2_normalize(torch.randn(2, 3, 5, 8, generator=generator))
    pictures = Embeddings(l2_normalize(patches.mean(dim=(1, 2))), [None] * 2, [None] * 2, patches=patches)
    retrieval = Cased(spec("regions", captions=2), means(encoder), bank, open_filter("wordnet"))
    regions = Regions(spec("regions", bank="b", cells=2, alpha=0.6), means(encoder), None, retrieval)
    words, places, scores = regions._of_captions(pictures, patches, retrieval)
    for image in range(2):
        for row, column in product(range(3), range(5)):
            inside = [
                [r for r in range(3) if r * 2 // 3 == row * 2 // 3],
                [c for c in range(5) if c * 2 // 5 == column * 2 // 5],
            ]
            cell = l2_normalize(
                torch.stack([patches[image, r, c] for r in inside[0] for c in inside[1]]).sum(dim=0)[None]
            )
            texts, centroid = retrieval.retrieve(cell)
            names = retrieval.candidates(texts)[0]
            vectors = torch.stack([encoder.vector(name) for name in names])
            both = [
                (query @ vectors.T * encoder.logit_scale).softmax(0)
                for query in (patches[image, row, column], centroid[0])
            ]
            wanted = 0.6 * both[0] + 0.4 * both[1]
            place = row * 5 + column
            assert words[int(places[image, place])] == names[int(wanted.argmax())]
            assert float(scores[image, place]) == pytest.approx(float(wanted.max()), abs=1e-5)


def test_dense_cased_in_a_run_over_images(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    encoder = open_encoder(f"local-dir:{tiny_encoder_dir}")
    captions = ["a dog at sea", "two boats", "a tree in the park", "the red house", "an old hat"]
    write_bank(
        open_storage(), str(tmp_path / "bank"), encoder.embed_text(captions), captions, encoder_digest=encoder.digest
    )
    options = {"bank": str(tmp_path / "bank"), "cells": 2, "captions": 2, "exact": True}
    source = jobs.make_source(
        tmp_path, tiny_encoder_dir, free=[{"name": "places", "method": "regions", "options": options}]
    )
    rows = [row for row in jobs.table(source.output.url).to_pylist() if row["status"] == "ok"]
    known = {"object", "two", "dog", "sea", "boat", "tree", "park", "red", "house", "old", "hat"}
    assert rows
    for row in rows:
        assert len(row["places_map"]) == 16
        assert {label["label"] for label in row["places"]} <= set(row["places_map"]) <= known
        assert sum(label["score"] for label in row["places"]) <= 1 + 1e-6


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
    for option in ("alpha", "captions", "cells", "exact", "pos"):
        with pytest.raises(ConfigError, match=f"{option} is for words of captions: give bank"):
            Regions.read(spec("regions", words=["dog"], **{option: 1}), MemoryStorage())
    for option, value in (("cells", 0), ("alpha", 2), ("pos", "nltk")):
        with pytest.raises(ConfigError, match=f"{option} is {value!r}"):
            Regions.read(spec("regions", bank="embedded", **{option: value}), open_storage())
    with pytest.raises(ConfigError, match="words and bank exclude each other"):
        Regions.read(spec("regions", words=["dog"], bank="b"), MemoryStorage())
