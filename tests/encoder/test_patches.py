"""Patch embeddings: the value path of the last block, computed from its weights, beside the plain embedding."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from curator.encoder import Encoder
from curator.errors import ConfigError
from curator.kernels.vectors import l2_normalize


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return Encoder.open(f"local-dir:{tiny_encoder_dir}", precision="float32")


def pixels(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def test_the_image_vectors_are_those_of_plain_encoding(encoder: Encoder) -> None:
    vectors, patches = encoder.embed_dense(pixels(5))
    torch.testing.assert_close(vectors, encoder.embed_pixels(pixels(5)), rtol=0, atol=1e-6)
    assert patches.shape == (5, 4, 4, 32)
    assert encoder.patch_grid == (4, 4)
    torch.testing.assert_close(patches.norm(dim=3), torch.ones(5, 4, 4))
    assert encoder.embed_dense(pixels(0))[1].shape == (0, 4, 4, 32)


def test_patches_take_the_value_path_of_the_last_block(encoder: Encoder, tiny_encoder_dir: Path) -> None:
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tiny_encoder_dir}", precision="fp32")
    visual = model.eval().visual
    images = pixels(2)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (encoder.preprocess.mean, encoder.preprocess.std))
    with torch.inference_mode():
        x = visual._embeds((images.float() / 255 - mean) / std)
        *before, last = visual.transformer.resblocks
        for block in before:
            x = block(x)
        width = x.shape[2]
        attention = last.attn
        value = last.ln_1(x) @ attention.in_proj_weight[2 * width :].T + attention.in_proj_bias[2 * width :]
        x = x + attention.out_proj(value)
        x = x + last.mlp(last.ln_2(x))
        expected = l2_normalize(visual.ln_post(x[:, 1:]) @ visual.proj).view(2, 4, 4, 32)
    torch.testing.assert_close(encoder.embed_dense(images)[1], expected, rtol=0, atol=1e-5)


def test_threads_do_not_mix_their_batches(encoder: Encoder) -> None:
    expected = [encoder.embed_dense(pixels(3, seed))[1] for seed in range(4)]
    found: dict[int, torch.Tensor] = {}

    def embed(seed: int) -> None:
        for _ in range(5):
            found[seed] = encoder.embed_dense(pixels(3, seed))[1]

    threads = [threading.Thread(target=embed, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, patches in enumerate(expected):
        torch.testing.assert_close(found[seed], patches)


def test_a_tower_without_patches_says_what_to_take() -> None:
    embedded = Encoder.open(precision="float32")
    with pytest.raises(ConfigError, match=r"is a TimmModel.*one of open_clip's own ViTs, such as ViT-B-32"):
        embedded.embed_dense(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
