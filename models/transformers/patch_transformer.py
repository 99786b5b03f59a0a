"""A plain transformer over large patches of pixels, to predict data with (Li & He, 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .adaptive_block import AdaptiveBlock, Attention, GatedFeedForward
from .base import Transformer, check_sizes


class PatchTransformer(Transformer):
    """A transformer straight on pixels, in patches that may be large, whose output is the data (Li & He, 2025).

    A patch may have as many numbers as a token has features, or more. Clean images fill few of these directions, so
    that such a network can predict the data, `PredictX()`, even through a `bottleneck`; noise fills all of them, and it
    cannot predict that. As theirs it has adaLN-Zero, normalisation by root mean squares, also of queries and keys,
    SwiGLU and rotary positions. Their class tokens, which join in the middle, are left out.

    Args:
        shape: (channels, ...) of signals of one axis or more; of any sizes that are multiples of the patch's, not
            only square ones.
        patch: side of a patch along every axis, or one side for each; theirs are a sixteenth of an image.
        width: features of a token.
        depth: number of blocks.
        heads: attention heads; they divide `width`, and a head has an even number of features, two for each axis or
            more.
        ratio: parameters of the feed-forward network as a multiple of two layers from `width` to `width`.
        bottleneck: features between patch and token; none if None.
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
        patch: int | Sequence[int] = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        ratio: float = 4.0,
        bottleneck: int | None = None,
        dropout: float = 0.0,
        classes: int | None = None,
        image_channels: int = 0,
        recompute: bool = False,
    ) -> None:
        axes = len(shape) - 1
        check_sizes(width=width, depth=depth, heads=heads, ratio=ratio, dropout=dropout, rotary_axes=axes)
        # Three layers instead of two.
        hidden = max(1, round(ratio * width * 2 / 3))

        def block() -> AdaptiveBlock:
            attention = Attention(width, heads, normalised=True, dropout=dropout)
            return AdaptiveBlock(width, attention, GatedFeedForward(width, hidden, dropout), _norm)

        super().__init__(
            shape,
            patch=patch,
            width=width,
            heads=heads,
            bottleneck=bottleneck,
            norm=_norm,
            rotary=True,
            blocks=[block() for _ in range(depth)],
            classes=classes,
            image_channels=image_channels,
            recompute=recompute,
        )


def _norm(width: int) -> nn.Module:
    return nn.RMSNorm(width, eps=1e-6, elementwise_affine=False)
