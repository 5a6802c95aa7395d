"""Faster forms of a transformer tower's parts, for bfloat16 on CPUs. Knows torch's modules, and no image or label.

Weights stay what they are; fewer passes are made over what stands between them. Measured with ViT-B-32, a batch of 64
on one core: the GELU costs an eighth of the forward and is nearly free inside the product before it; torch's fast path
of multi-head attention spends more on moving heads and on a softmax of bfloat16 than on products; a convolution that
cuts an image into patches is a matrix product.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

_FEW_TOKENS = 128  # up to which all scores of a batch fit; above, torch's flash attention is faster, too
_HIDDEN = (("c_fc", "gelu", "c_proj"), ("fc1", "act", "fc2"))  # the names of open_clip and of timm


def fuse(tower: nn.Module) -> int:
    """Put faster forms in the place of known parts of ``tower``, all of whose weights are bfloat16 on the CPU.

    Returns how many parts were replaced; what is not known stays, so 0 is as good an answer as any other.
    """
    if not _products_with_gelu():
        return 0
    return sum(_fuse_one(module) for module in list(tower.modules()))


def _products_with_gelu() -> bool:
    """Whether torch was built with the product that its own compiler uses, and the CPU has what that needs."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and callable(torch.ops.mkldnn._linear_pointwise)
    except (AttributeError, RuntimeError):
        return False


def _fuse_one(module: nn.Module) -> int:
    replaced = 0
    for linear, activation, last in _HIDDEN:
        first, second = getattr(module, linear, None), getattr(module, activation, None)
        if type(first) is nn.Linear and type(second) is nn.GELU and second.approximate == "none":
            setattr(module, linear, _Linear(first, "gelu"))
            setattr(module, activation, nn.Identity())
            if type(third := getattr(module, last, None)) is nn.Linear:
                setattr(module, last, _Linear(third))
            replaced += 1
    attention = getattr(module, "attn", None)
    if type(module).__name__ == "ResidualAttentionBlock" and _is_plain(attention):
        module.attn = _Attention(attention)
        replaced += 1
    stem = getattr(module, "conv1", None)
    if _cuts_patches(stem):
        module.conv1 = _Patches(stem)
        replaced += 1
    return replaced


def _is_plain(attention: Any) -> TypeGuard[nn.MultiheadAttention]:
    return (
        type(attention) is nn.MultiheadAttention
        and attention.batch_first
        and attention._qkv_same_embed_dim
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def _cuts_patches(convolution: Any) -> TypeGuard[nn.Conv2d]:
    return (
        type(convolution) is nn.Conv2d
        and convolution.kernel_size == convolution.stride != (1, 1)
        and convolution.padding == (0, 0)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    """``then`` ("none" or "gelu") of a linear layer, applied in float32 to each piece of the product as it is made."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
    return result


class _Linear(nn.Module):
    """``nn.Linear`` without torch's pass that writes the bias to where the product will stand; with a GELU or none."""

    def __init__(self, linear: nn.Linear, then: str = "none") -> None:
        super().__init__()
        self.weight, self.bias, self.then = linear.weight, linear.bias, then

    def forward(self, x: Tensor) -> Tensor:
        return _product(x, self.weight, self.bias, self.then)


class _Attention(nn.Module):
    """Self-attention in the place of a block's ``nn.MultiheadAttention``, whose second result is left out."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = _Linear(attention.out_proj)
        self.num_heads = attention.num_heads

    def forward(self, x: Tensor, *_: Tensor, attn_mask: Tensor | None = None, need_weights: bool = False) -> Any:
        batch, tokens, width = x.shape
        heads, size = self.num_heads, width // self.num_heads
        all_three = _product(x, self.in_proj_weight, self.in_proj_bias).view(batch, tokens, 3, heads, size)
        if tokens > _FEW_TOKENS or attn_mask is not None:
            q, k, v = all_three.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        else:
            q, k, v = all_three.permute(2, 0, 3, 1, 4).reshape(3, batch * heads, tokens, size).unbind(0)
            scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(size**-0.5)
            shares = scores.softmax(dim=-1).to(v.dtype)
            mixed = torch.bmm(shares, v).view(batch, heads, tokens, size)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width)), None


class _Patches(nn.Module):
    """A convolution with steps as long as its kernel as one product: [B, C, H, W] to [B, width, rows, columns]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight.flatten(1)
        self.bias = convolution.bias
        self.height, self.width = convolution.kernel_size

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, rows, columns = x.shape[0], x.shape[1], x.shape[2] // self.height, x.shape[3] // self.width
        x = x[:, :, : rows * self.height, : columns * self.width]
        patches = x.reshape(batch, channels, rows, self.height, columns, self.width).permute(0, 2, 4, 1, 3, 5)
        result = _product(patches.reshape(batch, rows * columns, -1), self.weight, self.bias)
        return result.transpose(1, 2).reshape(batch, -1, rows, columns)
