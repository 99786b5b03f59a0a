"""The diffusion transformer of Peebles & Xie (2023), for signals of any number of axes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .adaptive_block import AdaptiveBlock, Attention
from .base import Transformer, check_sizes


class DiT(Transformer):
    """The diffusion transformer (Peebles & Xie, 2023): layer normalisation, GELU, adaLN-Zero.

    Their DiT-S/2 is `DiT(shape, patch=2, width=384, depth=12, heads=6)` on latents of an autoencoder.

    Args:
        shape: (channels, ...) of signals of one axis or more; of any sizes that are multiples of the patch's, not
            only square ones.
        patch: side of a patch along every axis, or one side for each.
        width: features of a token.
        depth: number of blocks.
        heads: attention heads; they divide `width`.
        ratio: features inside the feed-forward network as a multiple of `width`.
        dropout: dropout rate after attention and inside the feed-forward network.
        classes: number of classes that signals may be labelled with; None for a network without labels.
        image_channels: channels of an image (or other signal) of the same size that is seen beside the latent. None
            is seen as zeros.
        recompute: in training, keep what goes into each block and compute the rest again in the backward pass: less
            memory, about a third more time, the same gradients.

    Raises:
        ValueError: a number is out of range, or the shape does not fit the patch; the message says what is allowed.
    """

    def __init__(  # noqa: PLR0913  # each is a choice
        self,
        shape: Sequence[int],
        *,
        patch: int | Sequence[int] = 2,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        ratio: float = 4.0,
        dropout: float = 0.0,
        classes: int | None = None,
        image_channels: int = 0,
        recompute: bool = False,
    ) -> None:
        check_sizes(width=width, depth=depth, heads=heads, ratio=ratio, dropout=dropout)
        hidden = round(ratio * width)

        def block() -> AdaptiveBlock:
            attention = Attention(width, heads, normalised=False, dropout=dropout)
            layers = (nn.Linear(width, hidden), nn.GELU("tanh"), nn.Dropout(dropout), nn.Linear(hidden, width))
            return AdaptiveBlock(width, attention, nn.Sequential(*layers), _norm)

        super().__init__(
            shape,
            patch=patch,
            width=width,
            heads=heads,
            bottleneck=None,
            norm=_norm,
            rotary=False,
            blocks=[block() for _ in range(depth)],
            classes=classes,
            image_channels=image_channels,
            recompute=recompute,
        )


def _norm(width: int) -> nn.Module:
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
