"""Vectors of entities on a node: encoded once for all its processes and runs, never taken half-written."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from curator.entities.building import SourceEntity
from curator.entities.gazetteer import Gazetteer
from curator.entities.vectors import EntityVectors
from curator.kernels.vectors import l2_normalize
from tests.entities.fakes import HashDevice, make, means_of

ENTITIES = tuple(SourceEntity(f"Q{row}", f"thing {row}", description="a thing" * (row % 2)) for row in range(6))


def opened(gazetteer: Gazetteer, cache: Path, *, descriptions: bool = False) -> tuple[EntityVectors, HashDevice]:
    encoder = HashDevice()
    return EntityVectors(gazetteer, means_of(encoder, cache), descriptions=descriptions), encoder


def asked(encoder: HashDevice) -> list[str]:
    return [text for texts in encoder.asked for text in texts]


def the_file(cache: Path) -> Path:
    (path,) = (cache / "entities").glob("*.vectors")
    return path


def test_what_one_process_encoded_others_read(tmp_path: Path) -> None:
    gazetteer = make(tmp_path / "g", *ENTITIES)
    first, encoder = opened(gazetteer, tmp_path)
    found = first([4, 1])
    assert asked(encoder) == ["thing 4", "thing 1"]
    expected = torch.stack([encoder.vector("thing 4"), encoder.vector("thing 1")]).half().float()
    assert torch.equal(found, expected)
    second, other = opened(gazetteer, tmp_path)
    assert torch.equal(second([1, 4]), found[[1, 0]])
    assert not asked(other)
    assert torch.equal(second([3, 4])[1], found[0])
    assert asked(other) == ["thing 3"]
    assert torch.equal(first([3]), second([3]))
    assert asked(encoder) == ["thing 4", "thing 1"]  # what the other wrote meanwhile is seen


def test_a_description_makes_other_vectors(tmp_path: Path) -> None:
    gazetteer = make(tmp_path / "g", *ENTITIES)
    vectors, encoder = opened(gazetteer, tmp_path, descriptions=True)
    both = l2_normalize(encoder.vector("thing 1") + encoder.vector("thing 1, a thing"))
    assert torch.allclose(vectors([1])[0], both, atol=1e-3)
    opened(gazetteer, tmp_path)[0]([1])
    assert len(list((tmp_path / "entities").glob("*.vectors"))) == 2


def test_a_gazetteer_is_encoded_beforehand_and_goes_on_where_it_was(tmp_path: Path) -> None:
    gazetteer = make(tmp_path / "g", *ENTITIES)
    opened(gazetteer, tmp_path)[0]([2])
    vectors, encoder = opened(gazetteer, tmp_path)
    vectors.fill()
    assert sorted(asked(encoder)) == [f"thing {row}" for row in (0, 1, 3, 4, 5)]
    again, other = opened(gazetteer, tmp_path)
    assert torch.equal(again.all(), vectors(range(6)))
    assert not asked(other)


def test_a_record_that_is_not_whole_is_encoded_again(tmp_path: Path) -> None:
    gazetteer = make(tmp_path / "g", *ENTITIES)
    vectors, _ = opened(gazetteer, tmp_path)
    whole = vectors(range(6))
    path = the_file(tmp_path)
    record = path.stat().st_size // 6
    with path.open("r+b") as file:
        file.seek(record)
        file.write(bytes(record // 2))  # of entity 1 the first half is not there
        file.seek(2 * record)
        file.write(bytes(record))  # entity 2 was never written
    again, encoder = opened(gazetteer, tmp_path)
    assert torch.equal(again(range(6)), whole)
    assert sorted(asked(encoder)) == ["thing 1", "thing 2"]
    assert not asked_after(gazetteer, tmp_path)


def asked_after(gazetteer: Gazetteer, cache: Path) -> list[str]:
    vectors, encoder = opened(gazetteer, cache)
    vectors(range(6))
    return asked(encoder)


def test_a_disk_that_is_full_costs_the_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gazetteer = make(tmp_path / "g", *ENTITIES)
    expected = opened(gazetteer, tmp_path / "other")[0](range(6))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    vectors, encoder = opened(gazetteer, tmp_path)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(vectors(range(6)), expected)
        assert torch.equal(vectors([5, 0]), expected[[5, 0]])
        assert torch.equal(vectors.all(), expected)
    assert len(asked(encoder)) == 6  # the run's cache of texts has them
    assert caplog.text.count("cannot be kept") == 1


def test_a_place_where_nothing_can_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gazetteer = make(tmp_path / "g", *ENTITIES)
    (tmp_path / "entities").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        vectors, encoder = opened(gazetteer, tmp_path)
        assert torch.equal(vectors([0, 1]), vectors([1, 0])[[1, 0]])
    assert "every run will encode its own" in caplog.text
    assert asked(encoder) == ["thing 0", "thing 1"]
