"""What transformers over patches have in common: from patches to tokens, through blocks, and back to patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from ...core.checks import check_count, check_number
from ..conditions import Condition, LabelEmbedding, checked_image, condition_parts
from ..unet import time_embedding
from .adaptive_block import AdaptiveBlock, Norm, zeroed
from .patches import Patches, rotations, sinusoids

# Sines and cosines of the time.
_TIME_FEATURES = 256


class Transformer(nn.Module):
    """A transformer from signals and times to signals of the same shape. Its last layer starts at zero.

    A subclass gives it its blocks. Tokens of patches, with fixed sines and cosines of their place added, go through
    them, conditioned on time and label.

    Args:
        shape: (channels, ...) of signals of one axis or more, of any sizes that are multiples of the patch's.
        patch: side of a patch along every axis, or one side for each.
        width: features of a token.
        heads: attention heads; they divide `width`.
        bottleneck: features between patch and token, fewer than either; none if None.
        norm: makes a normalisation without parameters of so many features.
        rotary: whether attention turns queries and keys by their place.
        blocks: the blocks.
        classes: number of classes that signals may be labelled with; None for a network without labels.
        image_channels: channels of an image (or other signal) of the same size that is seen beside the latent.
        recompute: in training, keep what goes into each block and compute the rest again in the backward pass.

    Raises:
        ValueError: a number is out of range, or the shape does not fit the patch.
    """

    position: Tensor
    turns: Tensor | None

    def __init__(  # noqa: PLR0913  # each is a choice
        self,
        shape: Sequence[int],
        *,
        patch: int | Sequence[int],
        width: int,
        heads: int,
        bottleneck: int | None,
        norm: Norm,
        rotary: bool,
        blocks: Sequence[AdaptiveBlock],
        classes: int | None,
        image_channels: int,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.patches = Patches(shape, patch)
        self.shape, self.classes = self.patches.shape, classes
        check_count("image_channels", image_channels, 0, hint="0 is a network that sees no image")
        self.image_channels, self.recompute = image_channels, recompute
        numbers = self.patches.numbers(self.shape[0])
        seen = self.patches.numbers(self.shape[0] + image_channels)
        if bottleneck is None:
            self.first = nn.Linear(seen, width)
        else:
            check_count("bottleneck", bottleneck)
            self.first = nn.Sequential(nn.Linear(seen, bottleneck), nn.Linear(bottleneck, width))
        self.embed = nn.Sequential(nn.Linear(_TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_label = None if classes is None else LabelEmbedding(classes, width)
        self.blocks = nn.ModuleList(blocks)
        self.norm, self.modulation = norm(width), zeroed(nn.Linear(width, 2 * width))
        for name, module in self.named_modules():
            # Peebles & Xie (2023) start so.
            if isinstance(module, nn.Linear) and not name.endswith("modulation"):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.last = zeroed(nn.Linear(width, numbers))
        places = self.patches.coordinates()
        self.register_buffer("position", sinusoids(places, width), persistent=False)
        self.register_buffer("turns", rotations(places, width // heads) if rotary else None, persistent=False)

    @override
    def extra_repr(self) -> str:
        return f"shape={self.shape}, patch={self.patches.sides}, {self.patches.places} tokens"

    def forward(
        self,
        z: Float[Tensor, "batch channels ..."],
        t: Float[Tensor, " batch"],
        condition: Condition | None = None,
    ) -> Tensor:
        """Return the network's output, (batch, channels, ...); arguments, conditions and errors as `UNet`'s."""
        if tuple(z.shape[1:]) != self.shape:
            msg = f"this {type(self).__name__} was made for signals of shape {self.shape}, got {tuple(z.shape[1:])}"
            raise ValueError(msg)
        labels, image = condition_parts(condition)
        image = checked_image(image, self.image_channels, z)
        h = self.first(self.patches.apart(z if image is None else torch.cat([z, image], dim=1)))
        h = h + self.position.to(h.dtype)
        embedding = self._embed(t, labels, h.dtype)
        for block in self.blocks:
            h = self._run(block, h, embedding)
        shift, scale = self.modulation(functional.silu(embedding))[:, None].chunk(2, dim=-1)
        return self.patches.together(self.last(self.norm(h) * (1 + scale) + shift))

    def _run(self, block: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
        if not (self.recompute and self.training):
            return block(h, embedding, self.turns)
        return cast("Tensor", checkpoint(block, h, embedding, self.turns, use_reentrant=False))

    def _embed(self, t: Tensor, labels: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return what conditions the blocks, (batch, width)."""
        # In half precision neighbouring times would be one: only their sines and cosines are.
        time = self.embed(time_embedding(t, _TIME_FEATURES).to(dtype))
        if self.embed_label is not None:
            return time + self.embed_label(labels, len(t))
        if labels is not None:
            msg = (
                f"this {type(self).__name__} was made without classes, but got labels for a condition: make it with"
                " classes=N, or leave them out"
            )
            raise ValueError(msg)
        return time


def check_sizes(*, width: int, depth: int, heads: int, ratio: float, dropout: float, rotary_axes: int = 0) -> None:
    """Check the numbers that blocks are made of; `rotary_axes` is how many axes share the turned pairs of a head.

    Raises:
        ValueError: one is out of range; the message says which.
    """
    for name, number in (("width", width), ("depth", depth), ("heads", heads)):
        check_count(name, number)
    check_number("ratio", ratio, "(0, inf)", "4 is usual")
    check_number("dropout", dropout, "[0, 1)", "0 is none")
    if width % heads:
        msg = f"heads must divide the width, got width={width} and heads={heads}"
        raise ValueError(msg)
    if rotary_axes and (width // heads % 2 or width // heads < 2 * rotary_axes):
        msg = (
            f"a head must have an even number of features, at least {2 * rotary_axes} for {rotary_axes} axes, got"
            f" {width // heads}, width={width} over heads={heads}"
        )
        raise ValueError(msg)
