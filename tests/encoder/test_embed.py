"""Vectors: equal to open_clip's in float32, close to that at lower precisions, for images of every kind, and texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from curator.data import Decoded, Preprocess
from curator.encoder import Encoder
from curator.encoder import texts as texts_module
from curator.encoder.catalog import EMBEDDED_DIRECTORY
from curator.errors import SampleError
from curator.kernels.vectors import l2_normalize
from tests.builders import encode, make_image
from tests.encoder.tiny import save_tiny

# Lowest cosine to float32 over 32 photo-like pictures, by encoder and precision.
COSINE_TO_FLOAT32 = {
    ("tiny", "bfloat16"): 0.999,
    ("tiny", "float16"): 0.99999,
    ("embedded", "bfloat16"): 0.999,
    ("embedded", "float16"): 0.9999,
}


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return Encoder.open(f"local-dir:{tiny_encoder_dir}", device="cpu", precision="float32")


def pixels(count: int, size: tuple[int, int] = (32, 32)) -> Tensor:
    images = [np.array(make_image(size[1], size[0], seed=seed)) for seed in range(count)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_float32_equals_open_clip_bit_for_bit(tmp_path: Path, resize_mode: str, interpolation: str) -> None:
    name = f"local-dir:{save_tiny(tmp_path, resize_mode=resize_mode, interpolation=interpolation, fill_color=9)}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    images = [make_image(50, 41, seed=1), make_image(33, 90, seed=2), make_image(32, 32, seed=3, mode="L")]
    with torch.no_grad():
        features = model.eval().encode_image(torch.stack([transform(image) for image in images]))
    ours = Encoder.open(name, device="cpu", precision="float32").embed(images)
    assert torch.equal(ours, l2_normalize(features))


@pytest.mark.parametrize(("name", "precision"), list(COSINE_TO_FLOAT32))
def test_lower_precisions_stay_close_to_float32(tiny_encoder_dir: Path, name: str, precision: str) -> None:
    directory = tiny_encoder_dir if name == "tiny" else EMBEDDED_DIRECTORY
    if not (directory / "open_clip_config.json").is_file():
        pytest.skip(f"the weights of {name} are not in this checkout")
    full = Encoder.open(f"local-dir:{directory}", device="cpu", precision="float32")
    batch = pixels(32, full.preprocess.size)
    vectors = Encoder.open(f"local-dir:{directory}", device="cpu", precision=precision).embed_pixels(batch)
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(32), atol=1e-6)
    assert (vectors * full.embed_pixels(batch)).sum(dim=1).min() >= COSINE_TO_FLOAT32[name, precision]


def test_one_picture_in_every_form_gives_one_vector(encoder: Encoder, tmp_path: Path) -> None:
    image = make_image(64, 48, seed=4)
    data = encode(image, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    array = np.array(image)
    forms = [image, array, torch.from_numpy(array), data, tmp_path / "a.png", str(tmp_path / "a.png")]
    vectors = encoder.embed(forms, batch_size=4)
    assert torch.allclose(vectors, vectors[:1].expand(6, -1), atol=1e-6)


def test_an_array_of_the_encoder_s_size_is_taken_as_it_is(encoder: Encoder) -> None:
    batch = pixels(3)
    assert torch.allclose(encoder.embed(batch.numpy()), encoder.embed_pixels(batch), atol=1e-6)


def test_decode_replaces_the_transform(encoder: Encoder) -> None:
    plain = np.full((3, 32, 32), 7, np.uint8)
    vectors = encoder.embed([b"anything"], decode=lambda data: Decoded(plain, 32, 32, "PNG"))
    assert torch.allclose(vectors, encoder.embed([plain]), atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"<html>", encode(make_image(), "JPEG")[:200]])
def test_what_is_no_image_is_a_sample_error(encoder: Encoder, data: bytes) -> None:
    with pytest.raises(SampleError, match="undecodable_image"):
        encoder.embed([data])


@pytest.mark.parametrize(
    "array", [np.zeros((3, 31, 31), np.uint8), np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3), np.float32)]
)
def test_arrays_of_another_kind_are_refused(encoder: Encoder, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="array"):
        encoder.embed([array])


@pytest.mark.parametrize("batch", [torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 30, 32, dtype=torch.uint8)])
def test_pixels_of_another_kind_are_refused(encoder: Encoder, batch: Tensor) -> None:
    with pytest.raises(ValueError, match="pixels are uint8"):
        encoder.embed_pixels(batch)


def test_a_row_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    batch = pixels(9)
    together = encoder.embed_pixels(batch)
    alone = torch.cat([encoder.embed_pixels(row.unsqueeze(0)) for row in batch])
    assert torch.allclose(together, alone, atol=1e-5)


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.embed([]).shape == (0, 32)
    assert encoder.embed_pixels(torch.empty(0, 3, 32, 32, dtype=torch.uint8)).shape == (0, 32)
    assert encoder.embed_text([]).shape == (0, 32)


@pytest.mark.parametrize(
    "text",
    [{}, {"no_causal_mask": True}, {"pool_type": "last"}, {"pool_type": "eos", "eos_id": 49407}],
    ids=["clip", "not-causal", "pooled-last", "pooled-eos"],
)
@pytest.mark.parametrize("custom", [False, True])
def test_texts_equal_open_clip_in_order_and_with_repetitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: dict[str, object], custom: bool
) -> None:
    name = f"local-dir:{save_tiny(tmp_path, text=text, custom_text=custom)}"
    model = open_clip.create_model(name).eval()
    texts = ["a cat", "a dog", "a cat", "", "word " * 200, "Ünï¢ode 猫", "one two three four five six seven eight"]
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True)
    encoder = Encoder.open(name, device="cpu", precision="float32")
    for batch_size in (1, 3, 256):
        assert torch.allclose(encoder.embed_text(texts, batch_size=batch_size), expected, atol=1e-5)
    monkeypatch.setattr(texts_module, "_TOKENS", 24)  # the two long ones, then the short ones in pieces
    assert torch.allclose(encoder.embed_text(texts), expected, atol=1e-5)


def test_equal_texts_are_encoded_once(encoder: Encoder) -> None:
    seen: list[str] = []
    tokenizer = encoder._tokenizer

    def counting(texts: list[str]) -> Tensor:
        seen.extend(texts)
        return tokenizer(texts)

    encoder._tokenizer = counting
    try:
        encoder.embed_text(["b", "a", "b", "b", "a"], batch_size=2)
    finally:
        encoder._tokenizer = tokenizer
    assert seen == ["b", "a"]


def test_vectors_can_be_changed_by_who_gets_them(encoder: Encoder) -> None:
    vectors = encoder.embed_pixels(pixels(1))
    vectors += 1
    assert not vectors.requires_grad


@pytest.mark.slow
def test_compiled_equals_eager_for_batches_of_every_size(encoder: Encoder, tiny_encoder_dir: Path) -> None:
    compiled = Encoder.open(f"local-dir:{tiny_encoder_dir}", device="cpu", precision="float32", compile=True)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for rows in (6, 2, 6, 5):
            batch = pixels(rows)
            assert torch.allclose(compiled.embed_pixels(batch), encoder.embed_pixels(batch), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_cuda_agrees_with_the_cpu(encoder: Encoder, tiny_encoder_dir: Path, precision: str) -> None:
    on_gpu = Encoder.open(f"local-dir:{tiny_encoder_dir}", device="cuda", precision=precision)
    vectors = on_gpu.embed_pixels(pixels(16))
    assert vectors.device.type == "cuda"
    assert (vectors.cpu() * encoder.embed_pixels(pixels(16))).sum(dim=1).min() >= 0.999
    assert isinstance(on_gpu.preprocess, Preprocess)
