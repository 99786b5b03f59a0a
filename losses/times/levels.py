"""Levels 1..K as times k / K, and back."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def as_level(t: Float[Tensor, "*n"], levels: int) -> tuple[Int[Tensor, "*n"], Bool[Tensor, "*n"]]:
    """Return the last of the levels 0..K that is not later than t, and whether t is that level.

    Args:
        t: times in [0, 1].
        levels: number K of levels; level k is time k / K.
    """
    position = t * levels
    nearest = position.round()
    # A level's time may have been rounded to float32 on its way: by up to 2^-25 below 1.
    at_level = (position - nearest).abs() <= levels * 2.0**-24
    return torch.where(at_level, nearest, position.floor()).long(), at_level
