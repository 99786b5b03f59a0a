"""White noise from an explicit generator, wherever that generator lives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SEEDS = 2**62


def white_noise(
    shape: Sequence[int], *, like: Tensor, dtype: torch.dtype | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Draw independent standard normal numbers.

    Args:
        shape: shape of the result.
        like: tensor whose device (and dtype, unless given) the result has.
        dtype: dtype of the result.
        generator: source of randomness; torch's default one for `like`'s device if None. A generator of
            another device is used where it lives and its numbers are moved, so one CPU seed gives the
            same picture on every machine.
    """
    device = like.device if generator is None else generator.device
    noise = torch.randn(tuple(shape), generator=generator, device=device, dtype=dtype or like.dtype)
    return noise.to(like.device)


def draw_seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """Return `count` seeds drawn from `generator`, torch's default one if None."""
    device = "cpu" if generator is None else generator.device
    return torch.randint(_SEEDS, (count,), generator=generator, device=device).tolist()
