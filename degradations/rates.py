"""Rates of change in time, by forward-mode differentiation, with their limits where the formula stands still."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

# Where 0 times infinity stands at an end of the time axis, the one-sided limit is read off this far inside it: close
# enough for a relative error below 1e-8, far enough for squares of it to stay normal numbers in float64.
_INWARDS = 2.0**-30


def rate(function: Callable[[Tensor], Tensor], t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
    """Return d function(t) / dt, of function(t)'s shape; 0 where `function` stays minus infinity.

    Args:
        function: made of torch operations; what it returns for one example depends on that example's time alone.
        t: times, () or (batch,).

    Raises:
        RuntimeError: an operation in `function` has no forward derivative; the message is torch's.
    """

    def derivative(t: Tensor) -> Tensor:
        return torch.func.jvp(function, (t,), (torch.ones_like(t),))[1]

    value = with_limits(derivative, t)
    # d log y = dy / y is 0 / 0 for ever where y has become 0.
    return torch.where(value.isnan() & (function(t) == -torch.inf), 0.0, value)


def with_limits(function: Callable[[Tensor], Tensor], t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
    """Return function(t), and where that is 0 times infinity its limit from within [0, 1]."""
    value = function(t)
    inside = function(torch.where(t < 0.5, t + _INWARDS, t - _INWARDS))
    return torch.where(value.isnan(), inside, value)
