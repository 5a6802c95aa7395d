"""The faster forms of a tower's parts give what the parts give, to bfloat16's rounding."""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional

from curator.encoder import Encoder, fused
from curator.encoder.fused import fuse, rescale_quick_gelu
from tests.encoder.tiny import save_tiny

pytestmark = pytest.mark.skipif(not fused.can_fuse(), reason="this CPU or torch has no bfloat16 products")


def vit(image_size: int = 32, **options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    tower = open_clip.transformer.VisionTransformer(
        image_size=image_size, patch_size=8, width=64, layers=3, heads=2, mlp_ratio=4.0, output_dim=32, **options
    )
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1)
    return tower.eval().requires_grad_(False)


def cosines(tower: torch.nn.Module, pixels: Tensor, expected: Tensor) -> Tensor:
    features = functional.normalize(tower(pixels.bfloat16()).float(), dim=-1)
    return (features * expected).sum(dim=-1)


@pytest.mark.parametrize("image_size", [32, 104])  # 17 and 170 tokens: few and many
@pytest.mark.parametrize("activation", [torch.nn.GELU, open_clip.model.QuickGELU])
def test_a_fused_vit_is_as_close_to_float32_as_a_plain_one(image_size: int, activation: Any) -> None:
    tower = vit(image_size, act_layer=activation)
    pixels = torch.randn(5, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = functional.normalize(tower(pixels), dim=-1)
        faster = copy.deepcopy(tower)
        assert rescale_quick_gelu(faster) == (0 if activation is torch.nn.GELU else 3)
        assert torch.allclose(functional.normalize(faster(pixels), dim=-1), expected, atol=1e-5)
        plain, faster = tower.bfloat16(), faster.bfloat16()
        assert fuse(faster) == 7
        assert fuse(faster) == 0
        before, after = cosines(plain, pixels, expected), cosines(faster, pixels, expected)
    assert float(after.min()) > 1 - 2 * (1 - float(before.min()))
    assert float(after.min()) > 0.999


def test_a_mask_reaches_the_fused_attention() -> None:
    block = vit().transformer.resblocks[0].bfloat16()
    faster = copy.deepcopy(block)
    assert fuse(faster) == 2
    tokens = torch.randn(2, 9, 64, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(2))
    mask = torch.full((9, 9), -torch.inf, dtype=torch.bfloat16).fill_diagonal_(0)
    with torch.inference_mode():
        alone, expected = faster(tokens, attn_mask=mask), block(tokens, attn_mask=mask)
        assert torch.allclose(alone, expected, atol=0.05, rtol=0.02)
        assert not torch.allclose(alone, faster(tokens), atol=0.05, rtol=0.02)


def test_timms_feed_forward_layers_are_known_and_other_convolutions_are_left() -> None:
    mlp = timm.layers.Mlp(16, 64).eval().requires_grad_(False).bfloat16()
    tokens = torch.randn(2, 5, 16, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(3))
    expected = mlp(tokens)
    assert fuse(mlp) == 1
    assert torch.allclose(mlp(tokens), expected, atol=0.02, rtol=0.02)
    attention = torch.nn.Module()
    attention.of_timm = timm.layers.Attention(16, num_heads=2).eval().requires_grad_(False).bfloat16()
    expected = attention.of_timm(tokens)
    assert fuse(attention) == 2
    assert torch.allclose(attention.of_timm(tokens), expected, atol=0.02, rtol=0.02)
    for kernel, stride in ((7, 4), (1, 1)):
        stem = torch.nn.Module()
        stem.conv1 = torch.nn.Conv2d(3, 8, kernel, stride=stride)
        assert fuse(stem) == 0


def test_blocks_that_scale_their_residuals_or_attend_elsewhere_keep_that() -> None:
    block = open_clip.transformer.ResidualAttentionBlock
    tokens = torch.randn(2, 5, 64, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(5))
    others = torch.randn(2, 7, 64, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(6))
    for options, given, parts in (({"ls_init_value": 0.5}, {}, 2), ({"is_cross_attention": True}, {"k_x": others}, 1)):
        holder = torch.nn.Module()
        holder.block = block(64, 2, **options).eval().requires_grad_(False).bfloat16()
        expected = holder.block(tokens, **given, **({"v_x": given["k_x"]} if given else {}))
        assert fuse(holder) == parts
        assert type(holder.block) is block
        result = holder.block(tokens, **given, **({"v_x": given["k_x"]} if given else {}))
        assert torch.allclose(result, expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("text", [{}, {"embed_cls": True}], ids=["clip", "coca"])
def test_texts_in_bfloat16_are_fused_and_close_to_float32(
    tmp_path: Any, quick_gelu: bool, text: dict[str, Any]
) -> None:
    name = f"local-dir:{save_tiny(tmp_path, custom_text=bool(text), text=text, quick_gelu=quick_gelu)}"
    exact = Encoder.open(name, precision="float32", device="cpu")
    rounded = Encoder.open(name, precision="bfloat16", device="cpu")
    texts = [
        "cat",
        "a photo of a large red dog",
        "",
        *(f"a {word} of {number} birds" for number, word in enumerate("abc")),
    ]
    assert rounded.digest == exact.digest
    assert float((rounded.embed_text(texts) * exact.embed_text(texts)).sum(dim=1).min()) > 0.999


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_an_encoder_in_bfloat16_is_fused_and_can_still_read_patches(tmp_path: Any, quick_gelu: bool) -> None:
    name = f"local-dir:{save_tiny(tmp_path, quick_gelu=quick_gelu)}"
    pixels = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    exact = Encoder.open(name, precision="float32", device="cpu")
    rounded = Encoder.open(name, precision="bfloat16", device="cpu")
    assert rounded.digest == exact.digest
    assert float((rounded.embed_pixels(pixels) * exact.embed_pixels(pixels)).sum(dim=1).min()) > 0.999
    patches, expected = rounded.embed_dense(pixels)[1], exact.embed_dense(pixels)[1]
    assert float((patches * expected).sum(dim=-1).min()) > 0.995
