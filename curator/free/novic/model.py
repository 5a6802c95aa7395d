"""Owns the network of the object decoder: an embedding becomes prefix tokens, and these go on as the tokens of a noun.

Knows no noun, no tokenizer, no search and no training. Source: NOVIC (Allgeuer, Ahrens, Wermter, WACV 2025), its
PrefixedIterDecoder, written from the paper's description.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

END = 0
"""Token id of the end of a noun, and of the padding after it."""


@dataclass(frozen=True)
class Architecture:
    """Sizes: ``dim`` of embeddings, ``tokens`` and ``longest`` noun with the end counted, the rest as in the paper."""

    dim: int
    tokens: int
    longest: int
    prefix: int = 4
    width: int = 512
    layers: int = 6
    heads: int = 8
    feedforward: int = 128


@dataclass
class Cache:
    """Keys and values of what rows have read so far, [layers, 2, R, heads, length, width / heads]."""

    keys_values: Tensor

    def of(self, rows: Tensor) -> Cache:
        """The cache of ``rows`` int64 [S] of these, in their order; a row may stand there several times."""
        return Cache(self.keys_values.index_select(2, rows))


class Layer(nn.Module):
    """One pre-norm transformer layer without any bias."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.attention = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, feedforward, bias=False)
        self.down = nn.Linear(feedforward, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None, past: Tensor | None, drop: Dropout) -> tuple[Tensor, Tensor]:
        """``x`` [R, T, H] after the layer, and its own keys and values [2, R, heads, past + T, H / heads].

        ``mask`` bool [T, T] says what sees what; None: everything sees all of ``past`` and of ``x``.
        """
        rows, length, width = x.shape
        packed = self.attention(self.norm1(x)).view(rows, length, 3, self.heads, width // self.heads)
        queries, keys, values = packed.permute(2, 0, 3, 1, 4)
        if past is not None:
            keys = torch.cat([past[0], keys], dim=2)
            values = torch.cat([past[1], values], dim=2)
        seen = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        x = x + drop(self.output(seen.transpose(1, 2).reshape(rows, length, width)))
        x = x + drop(self.down(functional.gelu(self.up(self.norm2(x)))))
        return x, torch.stack([keys, values])


class Dropout:
    """Dropout whose draws come from a generator of its own, so that threads side by side stay reproducible."""

    def __init__(self, share: float = 0.0, generator: torch.Generator | None = None) -> None:
        self._share, self._generator = share, generator

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` with its share of elements zero and the others scaled up."""
        if self._generator is None or not self._share:
            return x
        kept = torch.rand(x.shape, generator=self._generator, device=x.device) >= self._share
        return x * kept.to(x.dtype) / (1 - self._share)


class ObjectDecoder(nn.Module):
    """The decoder. There is no start token: the first token of the noun is read at the last prefix position."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.project = nn.Linear(a.dim, a.prefix * a.width, bias=False)
        self.tokens = nn.Embedding(a.tokens, a.width)
        self.positions = nn.Parameter(torch.empty(a.prefix + a.longest - 1, a.width))
        self.layers = nn.ModuleList(Layer(a.width, a.heads, a.feedforward) for _ in range(a.layers))
        self.norm = nn.LayerNorm(a.width, bias=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Streams of unit variance into the layers, logits of unit variance out of them, residual sums that stay so."""
        a = self.architecture
        nn.init.normal_(self.project.weight, std=1.0)  # of a unit vector
        nn.init.normal_(self.tokens.weight, std=a.width**-0.5)
        nn.init.normal_(self.positions, std=0.1)
        for name, weight in self.layers.named_parameters():
            if weight.ndim == 2:
                into_stream = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(weight, std=(weight.shape[1] * (2 * a.layers if into_stream else 1)) ** -0.5)

    def mask(self, length: int) -> Tensor:
        """What sees what over ``length`` places, bool [T, T]: the prefix all of itself, all else what is before."""
        seen = torch.ones(length, length, dtype=torch.bool, device=self.positions.device).tril()
        seen[: self.architecture.prefix, : self.architecture.prefix] = True
        return seen

    def forward(self, vectors: Tensor, tokens: Tensor, drop: Dropout | None = None) -> Tensor:
        """Hidden states [B, C, H] from which the tokens of nouns are read, C of them for ``tokens`` int64 [B, C - 1].

        ``vectors`` are unit vectors [B, dim]; ``tokens`` are those of the noun so far, without its end.
        """
        drop = drop or Dropout()
        x = torch.cat([self._prefix(vectors), self._embedded(tokens)], dim=1)
        x = drop(x + self.positions[: x.shape[1]])
        mask = self.mask(x.shape[1])
        for layer in self.layers:
            x, _ = layer(x, mask, None, drop)
        return self.norm(x[:, self.architecture.prefix - 1 :])  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., tokens] of hidden states [..., H]: the output weights are those of the token embedding."""
        return functional.linear(hidden, self.tokens.weight)

    def begin(self, vectors: Tensor) -> tuple[Tensor, Cache]:
        """Hidden states [B, H] of the first token for unit ``vectors`` [B, dim], and the cache to go on with."""
        x = self._prefix(vectors) + self.positions[: self.architecture.prefix]
        hidden, cache = self._through(x, None)
        return hidden[:, -1], cache

    def proceed(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Hidden states [R, H] of what follows ``tokens`` int64 [R], each of which follows its row of ``cache``."""
        place = cache.keys_values.shape[4]
        x = self._embedded(tokens[:, None]) + self.positions[place]
        hidden, cache = self._through(x, cache)
        return hidden[:, -1], cache

    def _through(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        grown = []
        for number, layer in enumerate(self.layers):
            x, kept = layer(x, None, None if cache is None else cache.keys_values[number], Dropout())
            grown.append(kept)
        return self.norm(x), Cache(torch.stack(grown))

    def _prefix(self, vectors: Tensor) -> Tensor:
        a = self.architecture
        return self.project(vectors).view(len(vectors), a.prefix, a.width)  # type: ignore[no-any-return]

    def _embedded(self, tokens: Tensor) -> Tensor:
        return self.tokens(tokens) * math.sqrt(self.architecture.width)  # type: ignore[no-any-return]
