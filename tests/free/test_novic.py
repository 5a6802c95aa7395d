from __future__ import annotations

from pathlib import Path

import pytest
import torch

from curator.annotators import method_of
from curator.data import Labels
from curator.errors import ConfigError
from curator.free import METHODS
from curator.free.novic.annotator import Novic
from curator.free.novic.model import Architecture, ObjectDecoder
from curator.free.novic.weights import Trained, to_bytes
from curator.storage import LocalStorage
from tests.free.fakes import Speaker, Writer, embeddings, means, spec

NOUNS = ("car", "red car", "red bus", "bus stop", "bee", "stop sign")
VECTORS = torch.nn.functional.normalize(torch.randn(7, 32, generator=torch.Generator().manual_seed(4)), dim=1)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """An untrained decoder of six nouns, for the encoder whose digest is "fake"."""
    ids = Writer().spell(NOUNS)
    tokens = sorted({number for noun in ids for number in noun})
    spelled = tuple(tuple(tokens.index(number) + 1 for number in noun) for noun in ids)
    torch.manual_seed(0)
    sizes = Architecture(dim=32, tokens=len(tokens) + 1, longest=3, width=32, layers=1, heads=2, feedforward=8)
    pieces = tuple(Writer().pieces(tokens))
    trained = Trained(ObjectDecoder(sizes).eval(), "fake", NOUNS, spelled, tuple(tokens), pieces, {})
    (tmp_path / "decoder.safetensors").write_bytes(to_bytes(trained))
    return str(tmp_path / "decoder.safetensors")


def decode(encoder: Speaker | None = None, **options: object) -> Labels:
    storage = LocalStorage()
    read = Novic.read(spec("novic", **options), storage)
    opened = Novic.open(read, means(encoder or Writer()))
    found = opened(embeddings(VECTORS))
    assert list(found) == ["free"] == [column.name for column in opened.columns]
    labels = found["free"]
    assert isinstance(labels, Labels)
    return labels


def words(labels: Labels) -> list[list[str]]:
    return [
        [labels.names[index] for index in row[:count]]
        for row, count in zip(labels.indices.tolist(), labels.counts.tolist(), strict=True)
    ]


def test_every_image_gets_its_nouns_best_first_with_probabilities(file: str) -> None:
    labels = decode(decoder=file, top_k=3)
    assert labels.scores.shape == (7, 3)
    assert (labels.counts == 3).all()
    assert (labels.scores[:, :-1] >= labels.scores[:, 1:]).all()
    assert ((labels.scores > 0) & (labels.scores < 1)).all()
    assert {word for row in words(labels) for word in row} <= set(NOUNS)
    assert list(labels.ids) == list(labels.names)


def test_exact_scores_and_a_wide_beam_agree(file: str) -> None:
    exact, wide = decode(decoder=file, exact=True, top_k=6), decode(decoder=file, beam=50, top_k=6)
    assert words(exact) == words(wide)
    assert abs(exact.scores - wide.scores).max() < 1e-5
    assert (exact.counts == len(NOUNS)).all()


def test_a_guide_allows_its_nouns_only_and_changes_no_probability(file: str, tmp_path: Path) -> None:
    (tmp_path / "guide.txt").write_text("# a comment\nbee\nRed Car\nsign stop\n")
    guided = decode(decoder=file, guide=str(tmp_path / "guide.txt"), top_k=9)
    assert all(set(row) == {"bee", "Red Car", "sign stop"} for row in words(guided))  # the last is of known tokens
    every = decode(decoder=file, exact=True, top_k=6)
    for row in range(7):
        whole = dict(zip(words(every)[row], every.scores[row].tolist(), strict=True))
        own = dict(zip(words(guided)[row], guided.scores[row].tolist(), strict=False))
        assert own["bee"] == pytest.approx(whole["bee"], abs=1e-6)
        assert own["Red Car"] == pytest.approx(whole["red car"], abs=1e-6)


def test_without_a_guide_any_tokens_may_follow(file: str) -> None:
    labels = decode(decoder=file, unguided=True, top_k=42, beam=60)
    found = {word for row in words(labels) for word in row}
    assert found > set(NOUNS)
    assert len(found) == 6 + 6 * 6
    assert all(1 <= len(word.split()) <= 2 for word in found)
    exact = decode(decoder=file, exact=True, top_k=1)
    for row in range(7):
        own = dict(zip(words(labels)[row], labels.scores[row].tolist(), strict=False))
        assert own[words(exact)[row][0]] == pytest.approx(float(exact.scores[row, 0]), abs=1e-5)


def test_a_decoder_of_another_encoder_is_refused(file: str) -> None:
    with pytest.raises(ConfigError, match="inverts the encoder fake"):
        decode(Writer(digest="another"), decoder=file)


def test_guides_that_cannot_be_spelled_are_refused_by_name(file: str) -> None:
    with pytest.raises(ConfigError, match=r"no tokens for 2 of 3 nouns of the guide, such as 'whale', 'car car car'"):
        decode(decoder=file, guide=["bee", "whale", "car car car"])
    with pytest.raises(ConfigError, match="cannot spell"):
        decode(Speaker(), decoder=file, guide=["bee"])
    assert len(decode(Speaker(), decoder=file).names) > 1


def test_options_and_files_are_checked_by_the_driver(tmp_path: Path, file: str) -> None:
    storage = LocalStorage()
    for options, message in (
        ({"decoder": str(tmp_path / "none")}, "there is no decoder"),
        ({"decoder": file, "beam": 0}, "beam is 0"),
        ({"decoder": file, "temperature": 0.0}, "temperature is 0"),
        ({"decoder": file, "guide": str(tmp_path / "none.txt")}, "guide .* does not exist"),
        ({"decoder": file, "guide": ["bee"], "unguided": True}, "exclude each other"),
        ({"decoder": file, "exact": True, "unguided": True}, "exclude each other"),
    ):
        with pytest.raises(ConfigError, match=message):
            Novic.read(spec("novic", **options), storage)
    with pytest.raises(ConfigError, match="beam"):
        method_of(spec("novic", beams=3), METHODS, "free")


def test_what_decides_the_rows_decides_the_digest(file: str, tmp_path: Path) -> None:
    def digest(**options: object) -> str:
        read = Novic.read(spec("novic", decoder=file, **options), LocalStorage())
        return Novic.open(read, means(Writer())).digest

    guide = tmp_path / "guide.txt"
    guide.write_text("bee\ncar\n")
    first = digest(guide=str(guide))
    assert digest(guide=str(guide)) == first
    guide.write_text("bee\n")
    assert len({first, digest(guide=str(guide)), digest(), digest(beam=5)}) == 4


def test_a_decoder_that_was_replaced_meanwhile_is_refused(file: str) -> None:
    read = Novic.read(spec("novic", decoder=file), LocalStorage())
    Path(file).write_bytes(Path(file).read_bytes() + b" ")
    with pytest.raises(ConfigError, match="changed since the run began"):
        Novic.open(read, means(Writer()))


def test_no_images_get_no_nouns(file: str) -> None:
    opened = Novic.open(Novic.read(spec("novic", decoder=file), LocalStorage()), means(Writer()))
    labels = opened(embeddings(VECTORS[:0]))["free"]
    assert isinstance(labels, Labels)
    assert len(labels.counts) == 0
