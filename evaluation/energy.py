"""The energy distance of two sets of vectors, pixels or features: 0 for equal distributions only."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .neighbours import LARGEST_BLOCK


@torch.no_grad()
def energy_distance(one: Float[Tensor, "ones ..."], other: Float[Tensor, "others ..."]) -> float:
    """Return 2 E|a - b| - E|a - a'| - E|b - b'| without bias, in the units of the vectors (Szekely & Rizzo, 2013).

    An estimate of 0 may come out negative.

    Args:
        one: samples, or their features, (ones, *shape).
        other: real images, or their features, (others, *shape).

    Raises:
        ValueError: shapes differ, or there are fewer than two of either.
    """
    if one.shape[1:] != other.shape[1:] or min(len(one), len(other)) < 2:
        msg = f"one shape and at least 2 of either are needed, got {tuple(one.shape)} and {tuple(other.shape)}"
        raise ValueError(msg)
    a, b = one.flatten(1).double(), other.flatten(1).double()
    within = sum(_total(x, x) / (len(x) * (len(x) - 1)) for x in (a, b))
    return 2 * _total(a, b) / (len(a) * len(b)) - within


def _total(a: Tensor, b: Tensor) -> float:
    """Return the sum of all distances, from differences: those of products are off where vectors are alike."""
    rows = max(1, LARGEST_BLOCK // len(b))
    return sum(torch.cdist(x, b, compute_mode="donot_use_mm_for_euclid_dist").sum().item() for x in a.split(rows))
