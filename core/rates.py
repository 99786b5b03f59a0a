"""Rates of change in time, by automatic differentiation, with their limits where the formula stands still."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from .checks import values_are_readable

# Where 0 times infinity stands at an end of the time axis, the one-sided limit is read off this far inside it: close
# enough for an error below 1e-9 where rates grow two-hundredfold within [0, 1], as DDPM's do; far enough for fifth
# powers of it to stay normal numbers in float64, and for 1 minus it to be exact.
_INWARDS = 2.0**-40

# Its root, times an error, is a normal number in float32, and so is what the gradient makes of it.
_NEXT_TO_NOTHING = 1e-36


def rate(function: Callable[[Tensor], Tensor], t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
    """Return d function(t) / dt, of function(t)'s shape, for the logarithm `function` of some y(t) >= 0.

    It is 0 where y stays 0, and infinite where y leaves 0 or gets there.

    Args:
        function: made of torch operations; what it returns for one example depends on that example's time alone.
        t: times, () or (batch,).

    Raises:
        RuntimeError: an operation in `function` has no derivative; the message is torch's.
    """
    (value, slope), beside = _with_limit(lambda t: value_and_slope(function, t), t)
    if beside is None:
        return slope
    near, limit = beside
    within = nudged_inside(t)
    # d log y = dy / y is 0 / 0 where y is 0. Where y is about to leave 0 the slope next to it will not do: however
    # large, it would be finite, and y times it 0.
    rising = torch.where(within > t, torch.inf, -torch.inf).reshape(*t.shape, *(1,) * (slope.ndim - t.ndim))
    limit = torch.where(value == -torch.inf, torch.where(near == -torch.inf, 0.0, rising), limit)
    return torch.where(slope.isnan(), limit, slope)


def value_and_slope(
    function: Callable[[Tensor], Tensor], t: Float[Tensor, "*batch"]
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return function(t) and d function(t) / dt as the formula gives it, NaN for 0 / 0; arguments as in `rate`."""
    if torch.compiler.is_compiling():
        # An exported program cannot hold what is below. Times that were expanded share memory, which this refuses.
        value, slope, *_ = torch.func.jvp(function, (t.contiguous(),), (torch.ones_like(t),))
        return value, slope
    if torch.is_inference_mode_enabled() and _is_constant_in_inference_mode():
        with torch.inference_mode(mode=False):
            return value_and_slope(function, t.clone())
    # Backwards twice: what takes cotangents to gradients is linear, and its own adjoint takes tangents to slopes. Not
    # forwards, where torch (2.13) spends 0.2 ms on every product with a number before it computes anything.
    value, adjoint, *_ = torch.func.vjp(function, t)
    _, derivative, *_ = torch.func.vjp(adjoint, torch.zeros_like(value))
    (slope,) = derivative((torch.ones_like(t),))
    return value, slope


@cache
def _is_constant_in_inference_mode() -> bool:
    """Tell whether this torch takes all for constant there, silently, as 2.6 does."""
    t = torch.ones(())
    with torch.inference_mode():
        _, slope, *_ = torch.func.jvp(torch.square, (t,), (t,))
    return bool(slope == 0)


def with_limits(function: Callable[[Tensor], Tensor], t: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
    """Return function(t), and where that is 0 times infinity its limit from within [0, 1]."""
    (value,), beside = _with_limit(lambda t: (function(t),), t)
    return value if beside is None else torch.where(value.isnan(), beside[0], value)


def root(square: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the square root, NaN below 0, whose gradient at 0, where things stand still, is 0 and not infinite."""
    return without_gradient_at_zero(square).sqrt()


def root_times(square: Float[Tensor, "..."], factor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return sqrt(square) times `factor`, to be squared again: where `square` is 0 that has its gradient."""
    if square.requires_grad:
        # The root of 0 has none. Of a number this small it has, and neither sum nor square tells the two apart.
        square = torch.where((square == 0) & factor.isfinite(), square + _NEXT_TO_NOTHING, square)
    return root(square) * factor


def without_gradient_at_zero(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return `value`, through which no gradient flows where it is 0, not an infinite one or NaN either."""
    return torch.where(value == 0, 0.0, value)


def nudged_inside(t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return the times, next to `t` on the side of 1/2, from which limits at `t` are read off."""
    return torch.where(t < 0.5, t + _INWARDS, t - _INWARDS)


def _with_limit(
    function: Callable[[Tensor], tuple[Tensor, ...]], t: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
    """Return function(t), and function(nudged_inside(t)) or None where the last of the former is seen to be numbers."""
    if t.ndim and not values_are_readable(t):
        # At once: what a limit is made of has limits too, and calls one after the other would double at each.
        both = function(torch.cat([t, nudged_inside(t)]))
        return tuple(value[: len(t)] for value in both), tuple(value[-len(t) :] for value in both)
    here = function(t)
    if values_are_readable(here[-1]) and not bool(here[-1].isnan().any()):
        return here, None
    return here, function(nudged_inside(t))
