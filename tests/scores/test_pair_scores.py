"""Scores of pairs, captions and images against their definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from curator.errors import ConfigError
from curator.kernels.misalignment import content_words, without
from curator.kernels.pixels import entropy_bits, laplacian_variance, luma
from tests.scores.opening import CpuEncoder, images, open_score, rows_of

CAPTIONS = ["A black dog runs on the beach", None, "Ein Hund läuft am Strand entlang", "", "🐕"]


def test_clip_score_is_the_cosine_with_ones_own_caption() -> None:
    encoder, batch = CpuEncoder(dim=32), images(CAPTIONS)
    found = open_score("clip_score", encoder=encoder)(batch)["it"]
    expected = [float(batch.vectors[row] @ encoder.embed_text([CAPTIONS[row]])[0]) for row in (0, 2, 4)]
    np.testing.assert_allclose(found[[0, 2, 4]], expected, atol=1e-6)
    assert np.isnan(found[[1, 3]]).all()


def test_clip_score_by_language() -> None:
    encoder = CpuEncoder(dim=32)
    vectors = encoder.embed_text([caption or "none" for caption in CAPTIONS])
    score = open_score("clip_score", encoder=encoder, thresholds={"en": 0.5, "de": 1.5, "other": 2.0})
    values = score(images(CAPTIONS, vectors=vectors))
    np.testing.assert_allclose(values["it"][[0, 2]], 1.0, atol=1e-6)
    assert values["it_kept"].tolist() == [True, False, False, False, False]
    one = open_score("clip_score", encoder=encoder, thresholds={"other": 0.5})
    assert one(images(CAPTIONS, vectors=vectors))["it_kept"].tolist() == [True, False, True, False, True]
    for thresholds, message in [
        ({"en": 0.3}, "lack 'other'"),
        ({"other": "high"}, "thresholds of 'other' is 'high'; it must be a number"),
        ({"klingon": 0.3, "other": 0.2}, "give codes such as en"),
    ]:
        with pytest.raises(ConfigError, match=message):
            open_score("clip_score", thresholds=thresholds)


def test_caption_statistics() -> None:
    captions = [*CAPTIONS, "a  red\nhouse", "12345 !!!", "x" * 2**20]
    values = open_score("caption_stats")(images(captions))
    assert values["it_chars"].tolist() == [29, -1, 32, -1, 1, 12, 9, 2**20]
    assert values["it_words"].tolist() == [7, -1, 6, -1, 1, 3, 2, 1]
    languages = values["it_language"]
    assert languages[:5] == ["en", None, "de", None, None]
    assert languages[6] is None
    plain = open_score("caption_stats", language=False)
    assert [column.name for column in plain.columns] == ["it_chars", "it_words"] == list(plain(images(["a"])))
    assert open_score("caption_stats", languages=["fr", "it"])(images(captions[:1]))["it_language"][0] in ("fr", "it")
    unsure = open_score("caption_stats", min_language_score=1.0)
    assert unsure(images(["dog"]))["it_language"] == [None]
    with pytest.raises(ConfigError, match="Unknown language"):
        open_score("caption_stats", languages=["klingon"])
    with pytest.raises(ConfigError, match="min_language_score is 2; it must be a number from 0 to 1"):
        open_score("caption_stats", min_language_score=2)


def test_image_shape_needs_no_pixels() -> None:
    values = open_score("image_shape")(images([None] * 3, sizes=[(300, 100), (5, 10), None]))
    assert values["it_pixels"].tolist() == [30_000, 50, -1]
    np.testing.assert_array_equal(values["it_aspect"], np.array([3, 2, np.nan], np.float32))


def test_image_statistics_against_loops() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 9, 7), dtype=np.uint8)
    flat = np.full((3, 9, 7), 77, np.uint8)
    values = open_score("image_stats")(images([None, None], pixels=[noise, flat]))
    grey = [
        [0.299 * noise[0, y, x] + 0.587 * noise[1, y, x] + 0.114 * noise[2, y, x] for x in range(7)] for y in range(9)
    ]
    laplacian = [
        grey[y - 1][x] + grey[y + 1][x] + grey[y][x - 1] + grey[y][x + 1] - 4 * grey[y][x]
        for y in range(1, 8)
        for x in range(1, 6)
    ]
    np.testing.assert_allclose(values["it_blur"], [np.var(laplacian), 0], rtol=1e-4, atol=1e-6)
    levels = [round(value) for row in grey for value in row]
    shares = [levels.count(level) / len(levels) for level in set(levels)]
    np.testing.assert_allclose(values["it_entropy"], [-sum(p * np.log2(p) for p in shares), 0], rtol=1e-5)
    assert laplacian_variance(luma(noise[:, :2])) == 0
    assert entropy_bits(np.arange(256, dtype=np.float32).reshape(16, 16)) == 8
    assert "pixels" in open_score("image_stats").NEEDS


def test_words_that_the_image_speaks_against() -> None:
    class Two(CpuEncoder):
        """ "dog" lies with the image, "purple" against it."""

        def embed_text(self, texts, batch_size=256):
            rows = [[1.0 * ("dog" in t) - 0.8 * ("purple" in t.lower()), 1.0, 0.0] for t in texts]
            return torch.nn.functional.normalize(torch.tensor(rows), dim=1)

    image = torch.tensor([[1.0, 0.0, 0.0]])
    captions = ["A purple dog and a Purple ball"]
    values = open_score("misalignment", encoder=Two(dim=3))(images(captions, vectors=image))
    rows = rows_of(values["it"])
    whole, without_purple = 0.2 / np.hypot(0.2, 1), 1 / np.sqrt(2)
    assert [(name, key) for key, name, _ in rows[0]] == [("purple", "purple")]
    assert rows[0][0][2] == pytest.approx(whole - without_purple, abs=1e-6)
    assert values["it_score"][0] == pytest.approx(2 * whole - without_purple, abs=1e-6)
    mild = open_score("misalignment", encoder=Two(dim=3), threshold=-0.9)(images(captions, vectors=image))
    assert (mild["it"].counts.tolist(), mild["it_score"][0]) == ([0], pytest.approx(whole, abs=1e-6))
    none = open_score("misalignment")(images([None, "", "the"]))
    assert none["it"].counts.tolist() == [0, 0, 0]
    assert np.isnan(none["it_score"][:2]).all()
    with pytest.raises(ConfigError, match=r"threshold is 0\.1; it must be a number of at most 0"):
        open_score("misalignment", threshold=0.1)
    with pytest.raises(ConfigError, match="max_words is 0; it must be a whole number of at least 1"):
        open_score("misalignment", max_words=0)


def test_content_words() -> None:
    assert content_words("The dog's Dog sees a dog on T-shirts, 犬 שלום!", 10) == [
        "dog's", "Dog", "sees", "T-shirts", "犬", "שלום",
    ]  # fmt: skip
    assert content_words("one two three", 2) == ["one", "two"]
    assert without("dog, hotdog dog's DOG", "dog") == ", hotdog dog's"
