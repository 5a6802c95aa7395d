"""Own the two towers during training: building them, caption tokens, fast forward passes, and the averaged weights.

It refuses to know where pictures and captions come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from curator.training.recipe import model_config

SHORT_CONTEXT = 16
"""Tokens that most steps read of a caption: attention is causal, so a shorter context gives the same vectors."""


def build() -> nn.Module:
    """The untrained model. Its initialisation takes torch's global seed."""
    model: nn.Module = open_clip.CLIP(**model_config()["model_cfg"])
    nn.init.normal_(model.token_embedding.weight, std=0.02)  # type: ignore[union-attr,arg-type]
    model.visual.to(memory_format=torch.channels_last)
    return model


class CaptionTokens:
    """Tokens of captions, each distinct text tokenised once."""

    def __init__(self) -> None:
        self._context = int(model_config()["model_cfg"]["text_cfg"]["context_length"])
        self._tokenizer = open_clip.SimpleTokenizer(context_length=self._context)
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str], context: int) -> Tensor:
        """Tokens int64 [N, context]; a longer text is cut, its end mark kept."""
        rows = []
        for text in texts:
            if text not in self._known:
                self._known[text] = self._tokenizer([text])[0]
            rows.append(self._known[text])
        tokens = torch.stack(rows)
        if context < self._context:
            end = self._tokenizer.eot_token_id
            cut = tokens[:, :context].clone()
            overlong = (tokens[:, context:] != 0).any(dim=1)
            cut[overlong, -1] = end
            tokens = cut
        return tokens


def embed_images(model: nn.Module, views: Tensor) -> Tensor:
    """Unit vectors float32 [N, D] of views [N, 3, side, side], computed in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        vectors = model.visual(views.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
    return functional.normalize(vectors.float(), dim=-1)


def embed_texts(model: nn.Module, tokens: Tensor) -> Tensor:
    """Unit vectors float32 [N, D] of tokens [N, L] with L up to the context length; as `encode_text`, for any L."""
    length = tokens.shape[1]
    states = model.token_embedding(tokens) + model.positional_embedding[:length]  # type: ignore[operator,index]
    states = model.transformer(states, attn_mask=model.attn_mask[:length, :length])  # type: ignore[operator,index]
    ends = model.ln_final(states)[torch.arange(len(tokens)), tokens.argmax(dim=1)]  # type: ignore[operator]
    return functional.normalize(ends @ model.text_projection, dim=-1)


class AveragedWeights:
    """Exponential moving average of a model's weights and buffers, with a short memory in the first steps."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.steps = 0
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)
