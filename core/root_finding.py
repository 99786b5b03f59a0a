r"""The inverse of a distribution function on [0, 1], where no formula gives it.

A bracket around the time is narrowed by the ITP method (Oliveira & Takahashi, 2020): like bisection, but to the point
where a straight line through the bracket's ends would cross (regula falsi), moved a little towards the middle, and no
farther from the middle than leaves bisection's guarantee intact, but for a few more rounds. On most smooth functions it
needs half of bisection's evaluations or less. Once the bracket is so narrow that the function is straight in it to the
last digits, w^2 F'' being below rounding, the line's crossing is the answer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import values_are_readable

# The bracket is narrowed to 2^-30, so that w^2 is below 1e-18.
_HALVINGS = 30
# How many rounds more than bisection it may take at worst (the method's n_0), and how far the crossing is moved, as a
# share of the bracket's squared width (its kappa_1, with kappa_2 = 2). Found by trying them on the families of unmelt.
_SLACK = 8
_TRUNCATION = 1.0


def invert_distribution(cdf: Callable[[Tensor], Tensor], u: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the times in (0, 1] at which F passes u, (n,).

    They are off by rounding where F is smooth, and by at most 2^-30 where it is not straight over so short a time: at
    jumps, kinks and singular ends. On an accelerator, where looking whether all are found would make it wait, 39
    evaluations are always made; the CPU stops when it can.

    Args:
        cdf: non-decreasing, F(0) = 0, F(1) = 1; called with times (n,).
        u: numbers in [0, 1), (n,).
    """
    width = 2.0**-_HALVINGS
    low, high = torch.zeros_like(u), torch.ones_like(u)
    # F - u at both ends of the bracket: at most 0 at the lower one, above 0 at the upper.
    below, above = -u, 1 - u
    for left in range(_HALVINGS + _SLACK, -1, -1):
        middle, crossing = (low + high) / 2, _crossing(low, high, below, above)
        # A step of at least the final width over the crossing, or one end of the bracket would never move.
        truncation = (_TRUNCATION * (high - low).square()).clamp(min=width / 2)
        towards = middle - crossing
        moved = torch.where(truncation < towards.abs(), crossing + towards.sign() * truncation, middle)
        # What may be given away now, so that halving alone would still do in the rounds that are left.
        leeway = (width * 2.0**left - (high - low) / 2).clamp(min=0.0)
        t = torch.minimum(torch.maximum(moved, middle - leeway), middle + leeway)
        value = cdf(t) - u
        passed = value > 0
        low, high = torch.where(passed, low, t), torch.where(passed, t, high)
        below, above = torch.where(passed, below, value), torch.where(passed, value, above)
        if values_are_readable(u) and bool((high - low <= width).all()):
            break
    # Times lie in (0, 1]: of what rounds to 0 the middle between 0 and the next number of torch.rand is taken.
    return _crossing(low, high, below, above).clamp(min=torch.finfo(u.dtype).eps / 4)


def _crossing(low: Tensor, high: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """Return where the straight line from (low, below) to (high, above) is 0."""
    return low + (high - low) * (below / (below - above))
