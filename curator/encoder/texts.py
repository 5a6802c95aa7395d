"""Owns the forward pass of texts, without the padding that their context is filled up with. Knows no tokenizer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

_STEP = 8  # lengths are rounded up to this, so that there are few of them
_TOKENS = 4_096  # that a CPU takes at a time: enough for its products, few enough to stay near it


class TextTower:
    """``model.encode_text`` that stops after the longest text of a batch where the result cannot depend on the rest.

    That is so for CLIP's own text tower: attention is causal and the feature is taken at the end-of-text token, so what
    stands after it is never seen. Prompts fill some 10 of its 77 places. Other towers get their tokens as they are. A
    CPU takes texts of like length together, so that a batch does not cost as much as if all were as long as one.
    """

    def __init__(self, model: Any) -> None:
        import open_clip

        self._model = model
        causal = type(model) is open_clip.CLIP and model.attn_mask is not None
        self._cuts = causal and model.text_pool_type == "argmax"
        self._by_length: dict[int, Any] = {}

    def __call__(self, tokens: Tensor) -> Tensor:
        """Features [B, dim], not normalised, of ``tokens`` int64 [B, context]."""
        if not self._cuts:
            return self._model.encode_text(tokens)  # type: ignore[no-any-return]
        lengths = tokens.argmax(dim=1) + 1  # the end-of-text token is the highest of all
        if tokens.device.type != "cpu":
            return self._upto(int(lengths.max()), tokens)
        lengths, order = lengths.sort(descending=True, stable=True)
        features, start = [], 0
        while start < len(order):
            longest = int(lengths[start])
            some = order[start : start + max(1, _TOKENS // longest)]
            features.append(self._upto(longest, tokens[some]))
            start += len(some)
        return torch.cat(features)[order.argsort()]

    def _upto(self, longest: int, tokens: Tensor) -> Tensor:
        length = min(-(-longest // _STEP) * _STEP, tokens.shape[1])
        return self._of_length(length).encode_text(tokens[:, :length])  # type: ignore[no-any-return]

    def _of_length(self, length: int) -> Any:
        """The model with a shorter context: a shallow copy, whose other weights are those of the model itself."""
        if length not in self._by_length:
            short = copy.copy(self._model)
            places = torch.nn.Parameter(self._model.positional_embedding[:length], requires_grad=False)
            short._parameters = {**self._model._parameters, "positional_embedding": places}
            short._buffers = {**self._model._buffers, "attn_mask": self._model.attn_mask[:length, :length]}
            self._by_length[length] = short
        return self._by_length[length]
