from __future__ import annotations

import base64
import io
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import Compose

from curator.data import Preprocess
from curator.errors import SampleError
from curator.shards import decode_resize
from curator.shards.decode import Decoder
from curator.shards.decode_color import pixels_of
from curator.shards.decode_resize import resize_close, resize_exact
from curator.shards.geometry import plan
from tests.builders import encode, make_image

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


def reference(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """open_clip's own transform up to ToTensor, as uint8 [3, H, W]."""
    height, width = preprocess.size
    transform = open_clip.image_transform(
        height if height == width else (height, width),
        is_train=False,
        resize_mode=preprocess.resize_mode,
        interpolation=preprocess.interpolation,
        fill_color=preprocess.fill_color,
    )
    return np.asarray(Compose(transform.transforms[:-2])(image)).transpose(2, 0, 1)


sides = st.integers(1, 40) | st.integers(30, 700) | st.sampled_from([224, 225, 448, 1023, 1500])
preprocesses = st.builds(
    Preprocess,
    size=st.sampled_from([(64, 64), (224, 224), (337, 337), (448, 448), (224, 96), (96, 224)]),
    mean=st.just(MEAN),
    std=st.just(STD),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    resize_mode=st.sampled_from(["shortest", "longest", "squash"]),
    fill_color=st.sampled_from([0, 128]),
)


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """Noise, hard black and white noise (which overshoots), or a smooth picture."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if seed % 3 == 1:
        return rng.integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)
    return np.array(make_image(width, height, seed=seed))


@settings(max_examples=150, deadline=None)
@given(sides, sides, preprocesses, st.integers(0, 1000))
def test_exact_is_open_clips_transform_bit_for_bit(width: int, height: int, preprocess: Preprocess, seed: int) -> None:
    pixels = picture(width, height, seed)
    geometry = plan(width, height, preprocess)
    if not geometry.x.resized or not geometry.y.resized:
        with pytest.raises(SampleError, match="extreme_aspect_ratio"):
            resize_exact(pixels, geometry)
        return
    expected = reference(Image.fromarray(pixels), preprocess)
    np.testing.assert_array_equal(resize_exact(pixels, geometry), expected)
    difference = np.abs(resize_close(pixels, geometry).astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() <= 0.1  # upscaled noise


@pytest.mark.parametrize(
    "size", [(3000, 40), (40, 3000), (5000, 224), (30_000, 7), (9000, 300), (224, 224), (6000, 4000)]
)
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_exact_holds_for_large_and_long_images(size: tuple[int, int], mode: Any) -> None:
    preprocess = Preprocess((64, 64), MEAN, STD, resize_mode=mode)
    pixels = picture(*size, 0)
    np.testing.assert_array_equal(
        resize_exact(pixels, plan(*size, preprocess)), reference(Image.fromarray(pixels), preprocess)
    )


def test_a_pillow_of_unknown_order_is_left_to_do_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = Preprocess((64, 64), MEAN, STD)
    pixels = picture(90, 300, 0)
    expected = resize_exact(pixels, plan(90, 300, preprocess))
    monkeypatch.setattr(decode_resize, "_order", lambda: None)
    np.testing.assert_array_equal(resize_exact(pixels, plan(90, 300, preprocess)), expected)


def test_the_installed_pillow_is_of_known_order() -> None:
    assert decode_resize._order() is not None


@pytest.mark.parametrize("size", [(1, 4_000_000), (4_000_000, 1)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_threads_of_pixels_stay_within_memory(size: tuple[int, int], mode: Any) -> None:
    decoder = Decoder(Preprocess((224, 224), MEAN, STD, resize_mode=mode))
    data = encode(Image.new("L", size, 7), "PNG")
    if mode == "shortest":
        assert (decoder(data).pixels == 7).all()
    else:
        with pytest.raises(SampleError, match="extreme_aspect_ratio"):
            decoder(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_through_the_whole_transform(format: str) -> None:
    data = encode(make_image(300, 200, seed=4), format)
    preprocess = Preprocess((224, 224), MEAN, STD)
    decoded = Decoder(preprocess)(data)
    transform = open_clip.image_transform(224, is_train=False, mean=MEAN, std=STD)
    expected = transform(Image.open(io.BytesIO(data)).convert("RGB"))
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    assert torch.equal((torch.from_numpy(decoded.pixels).float().div(255) - mean).div(std), expected)
    assert (decoded.width, decoded.height, decoded.format) == (300, 200, format)


@pytest.mark.parametrize("mode", ["exact", "close", "fast"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(512, 384), (1023, 701), (333, 999), (60, 50)])
def test_pixel_bounds_of_the_faster_modes(
    mode: Any, subsampling: int, progressive: bool, size: tuple[int, int]
) -> None:
    image = make_image(*size, seed=7)
    data = encode(image, "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
    preprocess = Preprocess((224, 224), MEAN, STD)
    expected = reference(Image.open(io.BytesIO(data)).convert("RGB"), preprocess).astype(int)
    difference = np.abs(Decoder(preprocess, mode=mode)(data).pixels - expected)
    largest, mean = {"exact": (0, 0), "close": (2, 0.05), "fast": (16, 0.5)}[mode]
    assert difference.max() <= largest
    assert difference.mean() <= mean


@pytest.mark.parametrize("seed", range(4))
def test_exact_is_pillows_own_decoding_of_damaged_jpegs_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    options = [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}][seed]
    data = encode(make_image(150, 110, seed=seed), "JPEG", quality=75, **options)
    preprocess, compared = Preprocess((64, 64), MEAN, STD), 0
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(len(data) // 2, len(data) - 2, 3):
            damaged[place] = random.integers(256)
        try:
            expected = reference(Image.open(io.BytesIO(damaged)).convert("RGB"), preprocess)
        except OSError:
            with pytest.raises(SampleError):
                Decoder(preprocess)(bytes(damaged))
            continue
        np.testing.assert_array_equal(Decoder(preprocess)(bytes(damaged)).pixels, expected)
        compared += 1
    assert compared > 20


def test_exact_needs_no_torch() -> None:
    """Decode processes start in a tenth of a second for it, and a dozen of them do not hold torch a dozen times."""
    data = base64.b64encode(encode(make_image(90, 70), "JPEG")).decode()
    code = f"""
import base64, sys
from curator.data import Preprocess
from curator.shards.decode import Decoder
Decoder(Preprocess((32, 32), (0.5,) * 3, (0.5,) * 3))(base64.b64decode({data!r}))
print("torch" in sys.modules, "torchvision" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 200), (3, 20_000), (5000, 3000)])
def test_pixels_are_those_that_numpy_would_be_given(size: tuple[int, int]) -> None:
    image = Image.fromarray(picture(*size, 0))
    np.testing.assert_array_equal(pixels_of(image), np.asarray(image))


def test_fast_really_decodes_less(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = decode_resize.resize_close
    monkeypatch.setattr("curator.shards.decode.resize_close", lambda p, g: asked.append(p.shape) or plain(p, g))
    data = encode(make_image(1000, 900), "JPEG")
    Decoder(Preprocess((224, 224), MEAN, STD), mode="fast")(data)
    Decoder(Preprocess((100, 100), MEAN, STD), mode="fast")(data)
    assert asked == [(450, 500, 3), (225, 250, 3)]


def test_decoders_pickle_and_share_threads() -> None:
    decoder = pickle.loads(pickle.dumps(Decoder(Preprocess((64, 64), MEAN, STD))))
    images = [encode(make_image(120, 90 + seed, seed=seed), "JPEG") for seed in range(40)]
    alone = [decoder(data).pixels for data in images]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(alone, pool.map(lambda data: decoder(data).pixels, images), strict=True):
            np.testing.assert_array_equal(one, other)


def test_pillows_warnings_are_silent_here_and_heard_elsewhere() -> None:
    apng = encode(make_image(20, 20), "PNG")
    chunk = b"acTL" + bytes(8)  # an animation of no frames
    noisy = apng[:33] + struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk)) + apng[33:]
    with pytest.warns(UserWarning, match="Invalid APNG"):
        Image.open(io.BytesIO(noisy))
    decoder = Decoder(Preprocess((16, 16), MEAN, STD))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder(noisy)
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", UserWarning, stacklevel=1)
