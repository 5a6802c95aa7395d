"""Owns the reading of patch embeddings out of a ViT's own forward pass. Knows no label and no batch size."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from curator.errors import ConfigError


class PatchTower:
    """``model.encode_image`` that also gives each patch a vector in the joint space of images and texts.

    A patch's vector is what the last block makes of it when it attends to itself alone: its own value, residual and
    feed-forward layer, then the tower's last norm and its projection (MaskCLIP, Zhou et al., ECCV 2022, "Extract Free
    Dense Labels from CLIP"). With the attention left as it is, tokens of CLIP's last block say more of the whole image
    than of their place. For open_clip's VisionTransformer without attention pooling. Costs one block more than plain
    encoding.
    """

    def __init__(self, model: Any, name: str) -> None:
        """Raises ConfigError where the image tower of ``model`` has no such patches."""
        import open_clip

        visual = model.visual
        plain = isinstance(visual, open_clip.transformer.VisionTransformer)
        if not plain or visual.attn_pool is not None or visual.proj is None:
            what = "pools by attention" if plain else f"is a {type(visual).__name__}"
            raise ConfigError(
                f"encoder {name}: its image tower {what}, from which no patch embeddings can be read; region labels "
                "need one of open_clip's own ViTs, such as ViT-B-32 or ViT-L-14"
            )
        self.grid: tuple[int, int] = visual.grid_size
        self._model = model
        self._last = visual.transformer.resblocks[-1]
        self._rows_first: bool = visual.transformer.batch_first
        self._seen = threading.local()  # several batches may be under way, one a thread
        self._last.register_forward_pre_hook(self._keep)

    def _keep(self, _block: Any, inputs: tuple[Any, ...]) -> None:
        self._seen.tokens = inputs[0]

    def __call__(self, normalized: Tensor) -> Tensor:
        """Features [B, 1 + h * w, dim], not normalised: of the image, then of its patches row by row."""
        whole = self._model.encode_image(normalized)
        tokens = self._seen.tokens
        length = tokens.shape[1 if self._rows_first else 0]
        alone = torch.full((length, length), -torch.inf, dtype=tokens.dtype, device=tokens.device).fill_diagonal_(0)
        tokens = self._last(tokens, attn_mask=alone)
        del self._seen.tokens
        patches = (tokens if self._rows_first else tokens.transpose(0, 1))[:, 1:]
        visual = self._model.visual
        return torch.cat([whole[:, None], visual.ln_post(patches) @ visual.proj], dim=1)
