"""Faster forms of a transformer's parts, for bfloat16 on CPUs. Knows torch's modules, and no image, text or label.

Weights stay what they are, in the order in which the CPU's products read them; fewer passes are made over what stands
between the products. Measured with ViT-B-32 on one core: the GELU costs an eighth of the forward and is nearly free
inside the product before it, as are biases and residuals; torch's fast path of multi-head attention spends more on
moving heads and on a softmax of bfloat16 than on products, and with a mask, as texts have it, much more; weights in
torch's own order are put into the other one in every product, which is most of the work where a batch has few tokens.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

_HIDDEN = (("c_fc", "gelu", "c_proj"), ("fc1", "act", "fc2"))  # the names of open_clip and of timm
_QUICK = 1.702  # QuickGELU(x) = x sigmoid(1.702 x)


def can_fuse() -> bool:
    """Whether torch was built with the products that its own compiler uses, and the CPU has what they need."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and callable(torch.ops.mkldnn._linear_pointwise)
    except (AttributeError, RuntimeError):
        return False


def rescale_quick_gelu(model: nn.Module) -> int:
    """Turn each QuickGELU of ``model`` into a SiLU, which ``fuse`` knows, before the weights are rounded to bfloat16.

    1.702 QuickGELU(x) = SiLU(1.702 x): the factor goes into the layer before, its inverse into the layer after. Returns
    how many were turned.
    """
    turned = 0
    for module in model.modules():
        if [name for name, _ in module.named_children()] != ["c_fc", "gelu", "c_proj"]:
            continue
        first, second, third = module.children()
        if type(first) is type(third) is nn.Linear and type(second).__name__ == "QuickGELU":
            with torch.no_grad():
                for factor, numbers in ((_QUICK, first.weight), (_QUICK, first.bias), (1 / _QUICK, third.weight)):
                    numbers.mul_(factor)
            module.gelu = nn.SiLU()
            turned += 1
    return turned


def fuse(model: nn.Module) -> int:
    """Put faster forms in the place of known parts of ``model``, all of whose weights are bfloat16 on the CPU.

    Returns how many parts were replaced; what is not known stays, so 0 is as good an answer as any other.
    """
    if not can_fuse():
        return 0
    replaced = sum(_fuse_one(module) for module in list(model.modules()))
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if _is_whole(child):
                setattr(module, name, _Block(child))
        if _reads_first_token(module):
            blocks = module.transformer.resblocks
            blocks[-1] = _LastBlock(blocks[-1])
    return replaced


def _fuse_one(module: nn.Module) -> int:
    replaced = 0
    for linear, activation, last in _HIDDEN:
        first, applied = getattr(module, linear, None), _activation(getattr(module, activation, None))
        if type(first) is nn.Linear and applied is not None:
            setattr(module, linear, _Product(first.weight, first.bias, *applied))
            setattr(module, activation, nn.Identity())
            if type(third := getattr(module, last, None)) is nn.Linear:
                setattr(module, last, _Product(third.weight, third.bias))
            replaced += 1
    attention = getattr(module, "attn", None)
    if _is_block(module) and _is_plain(attention):
        module.attn = _Attention(attention)
        replaced += 1
    if type(module).__name__ == "Attention" and type(module).__module__.startswith("timm.layers."):
        for name in ("qkv", "proj"):
            if type(layer := getattr(module, name, None)) is nn.Linear:
                setattr(module, name, _Product(layer.weight, layer.bias))
                replaced += 1
    stem = getattr(module, "conv1", None)
    if _cuts_patches(stem):
        module.conv1 = _Patches(stem)
        replaced += 1
    return replaced


def _activation(module: Any) -> tuple[str, str] | None:
    """The names that the products have for an activation and its algorithm."""
    if type(module) is nn.GELU:
        return "gelu", module.approximate
    return ("swish", "none") if type(module) is nn.SiLU else None


def _is_block(module: nn.Module) -> bool:
    """Whether it is open_clip's block of self-attention; in one of cross-attention keys come from elsewhere."""
    return type(module).__name__ == "ResidualAttentionBlock" and not hasattr(module, "ln_1_kv")


def _is_whole(module: Any) -> bool:
    """Whether all products of a block are fused and its residuals are added as they are."""
    return (
        _is_block(module)
        and isinstance(module.attn, _Attention)
        and all(isinstance(layer, (_Product, nn.Identity)) for layer in module.mlp.children())
        and isinstance(module.ls_1, nn.Identity)
        and isinstance(module.ls_2, nn.Identity)
    )


def _reads_first_token(tower: Any) -> TypeGuard[Any]:
    """Whether it is open_clip's image tower, and its features are those of its first token."""
    return (
        type(tower).__name__ == "VisionTransformer"
        and type(tower).__module__.startswith("open_clip.")
        and tower.attn_pool is None
        and tower.pool_type == "tok"
        and not tower.output_tokens
        and type(tower.transformer.resblocks[-1]) is _Block
    )


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


class _Product(nn.Module):
    """A linear layer whose weight lies in the order of the CPU's products, and which ends in float32 with what follows.

    That is the bias and an activation, or the bias and a residual, for each piece of the product as it is made.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, then: str = "none", algorithm: str = "none") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())  # opaque: no parameter any more
        self.bias, self.then, self.algorithm = bias, then, algorithm

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[..., inputs] to [..., outputs]; ``residual`` [..., outputs] is for a layer without an activation."""
        product = torch.ops.mkldnn._linear_pointwise
        if residual is None:
            return product(x, self.weight, self.bias, self.then, [], self.algorithm)  # type: ignore[no-any-return]
        return product.binary(x, residual, self.weight, self.bias, "add")  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Self-attention in the place of a block's ``nn.MultiheadAttention``, whose second result is left out."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.all_three = _Product(attention.in_proj_weight, attention.in_proj_bias)
        self.out_proj = _Product(attention.out_proj.weight, attention.out_proj.bias)
        self.num_heads = attention.num_heads

    def forward(self, x: Tensor, *_: Tensor, attn_mask: Tensor | None = None, need_weights: bool = False) -> Any:
        return self.out_proj(self.mixed(x, attn_mask)), None

    def mixed(self, x: Tensor, attn_mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """What the first ``queries`` tokens of each row of ``x`` [B, T, width] take from all, [B, queries, width]."""
        batch, tokens, width = x.shape
        heads = self.num_heads
        q, k, v = self.all_three(x).view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.view(batch, heads, tokens, tokens)
        taken = functional.scaled_dot_product_attention(q[:, :, :queries], k, v, attn_mask=attn_mask)
        return taken.transpose(1, 2).reshape(batch, -1, width)


class _Block(nn.Module):
    """open_clip's ``ResidualAttentionBlock`` whose residuals are added within its products."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = block.ln_1, block.attn, block.ln_2, block.mlp

    def get_weight_dtype(self) -> torch.dtype:
        return torch.bfloat16

    def forward(
        self, x: Tensor, k_x: None = None, v_x: None = None, attn_mask: Tensor | None = None, queries: int | None = None
    ) -> Tensor:
        """``x`` [B, T, width] to the same, or to [B, queries, width] of the first tokens. Knows no keys of others."""
        mask = None if attn_mask is None else attn_mask.to(x.dtype)
        x = self.attn.out_proj(self.attn.mixed(self.ln_1(x), mask, queries), x[:, :queries])
        return self.mlp.c_proj(self.mlp.c_fc(self.ln_2(x)), x)  # type: ignore[no-any-return]


class _LastBlock(_Block):
    """The last block of a tower that reads its first token alone, which is all that it gives.

    With a mask it gives every token, as who reads patches wants them.
    """

    def forward(
        self, x: Tensor, k_x: None = None, v_x: None = None, attn_mask: Tensor | None = None, queries: int | None = None
    ) -> Tensor:
        return super().forward(x, attn_mask=attn_mask, queries=1 if attn_mask is None else None)


class _Patches(nn.Module):
    """A convolution with steps as long as its kernel as one product: [B, C, H, W] to [B, width, rows, columns]."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.product = _Product(convolution.weight.flatten(1), convolution.bias)
        self.height, self.width = convolution.kernel_size

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, rows, columns = x.shape[0], x.shape[1], x.shape[2] // self.height, x.shape[3] // self.width
        x = x[:, :, : rows * self.height, : columns * self.width]
        patches = x.reshape(batch, channels, rows, self.height, columns, self.width).permute(0, 2, 4, 1, 3, 5)
        result = self.product(patches.reshape(batch, rows * columns, -1))
        return result.transpose(1, 2).reshape(batch, -1, rows, columns)  # type: ignore[no-any-return]
