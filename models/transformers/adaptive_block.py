"""A transformer's block under adaptive normalisation: attention and a feed-forward network, shifted, scaled and gated.

What conditions the network sets shift, scale and gate of both halves (adaLN-Zero; Peebles & Xie, 2023). The layer that
does so starts at zero, so that a block starts as the identity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

Norm = Callable[[int], nn.Module]


class AdaptiveBlock(nn.Module):
    """h + gate attention(scaled(h)), then the same with the feed-forward network.

    Args:
        width: features of a token, and of what conditions.
        attention: mixes tokens.
        feed_forward: works on each token.
        norm: makes a normalisation without parameters of so many features.
    """

    def __init__(self, width: int, attention: nn.Module, feed_forward: nn.Module, norm: Norm) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.before_attention, self.before_feed_forward = norm(width), norm(width)
        self.modulation = zeroed(nn.Linear(width, 6 * width))

    def forward(
        self,
        h: Float[Tensor, "batch places width"],
        condition: Float[Tensor, "batch width"],
        turns: Float[Tensor, "two places half"] | None,
    ) -> Float[Tensor, "batch places width"]:
        """Return tokens of the same shape; `turns` are the rotations of rotary positions, where there are any."""
        shift, scale, gate, *rest = self.modulation(functional.silu(condition))[:, None].chunk(6, dim=-1)
        h = h + gate * self.attention(self.before_attention(h) * (1 + scale) + shift, turns)
        shift, scale, gate = rest
        return h + gate * self.feed_forward(self.before_feed_forward(h) * (1 + scale) + shift)


class Attention(nn.Module):
    """Self-attention of all tokens.

    Args:
        width: features of a token, divisible by `heads`.
        heads: attention heads.
        normalised: whether queries and keys are normalised first, each head by itself, by their root mean square.
        dropout: dropout rate of the result.
    """

    def __init__(self, width: int, heads: int, *, normalised: bool, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query_norm = nn.RMSNorm(width // heads) if normalised else nn.Identity()
        self.key_norm = nn.RMSNorm(width // heads) if normalised else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Float[Tensor, "batch places width"], turns: Float[Tensor, "two places half"] | None
    ) -> Float[Tensor, "batch places width"]:
        """Return tokens of the same shape."""
        query, key, value = rearrange(self.project_in(h), "b n (three h c) -> three b h n c", three=3, h=self.heads)
        query, key = self.query_norm(query), self.key_norm(key)
        if turns is not None:
            query, key = _turned(query, turns), _turned(key, turns)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.dropout(self.project_out(rearrange(mixed, "b h n c -> b n (h c)")))


class GatedFeedForward(nn.Module):
    """Two layers with a gate between them, SwiGLU (Shazeer, 2020).

    Args:
        width: features in and out.
        hidden: features between.
        dropout: dropout rate between them.
    """

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, h: Float[Tensor, "batch places width"]) -> Float[Tensor, "batch places width"]:
        gate, value = self.first(h).chunk(2, dim=-1)
        return self.last(self.dropout(functional.silu(gate) * value))


def zeroed(layer: nn.Linear) -> nn.Linear:
    """Return a layer with all parameters set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _turned(heads: Tensor, turns: Tensor) -> Tensor:
    """Return pairs of numbers, of the first and of the second half of a head, turned by their place's angles."""
    cosine, sine = turns.to(heads.dtype)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
