r"""Damped least squares by conjugate gradients, for a batch, from products with a matrix and its transpose alone.

    w = argmin |r - G^T w|^2 + d |w|^2 = (G G^T + d)^+ G r

The iteration keeps the residual r - G^T w beside w (CGLS, after Hestenes & Stiefel, 1952; Bjorck, 1996), which loses
fewer digits than forming G G^T. Its right side G r lies in the range of G, so it converges without damping too, and
where G has no inverse: to the smallest of the best w, which is the pseudo-inverse's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


def damped_least_squares(
    forward: Operator,
    adjoint: Operator,
    right: Float[Tensor, "batch ..."],
    damping: Float[Tensor, "..."],
    *,
    size: Float[Tensor, "..."],
    tolerance: float,
    iterations: int,
) -> Float[Tensor, "batch ..."]:
    """Return (G G^T + d)^+ G r, (batch, ...), which may be of another shape than r.

    A row is done when the gradient G (r - G^T w) - d w is at most `tolerance` |G| |r| long. Directions that G shrinks
    to less than the tolerance's square root of |G| are then not resolved further than the damping resolves them.
    Whether all are done is read once per iteration, for which a device waits.

    Args:
        forward: the product with G^T.
        adjoint: the product with G.
        right: r, (batch, ...).
        damping: d >= 0, a number for each row, or one.
        size: an upper bound of the norm |G|, likewise.
        tolerance: relative; at least eps^(3/4) is taken, eps being the precision of `right` (2e-12 in float64), to
            which rounding lets the iteration come.
        iterations: how many are allowed.

    Raises:
        RuntimeError: a row is not done after so many iterations.
    """
    finest = torch.finfo(right.dtype).eps ** 0.75
    goal = max(tolerance, finest) ** 2 * size.square() * _square(right)
    residual, gradient = right, adjoint(right)
    # Not plain zeros: a right side that is infinite or NaN must show in the result.
    w, direction, power = 0 * gradient, gradient, _square(gradient)
    for _ in range(iterations):
        active = power > goal
        if not bool(active.any()):
            return w
        image = forward(direction)
        curvature = _square(image) + damping * _square(direction)
        step = torch.where(active, power / curvature, 0.0)
        w, residual = w + _each(step, w) * direction, residual - _each(step, image) * image
        gradient = adjoint(residual) - _each(damping, w) * w
        before, power = power, _square(gradient)
        direction = gradient + _each(torch.where(active, power / before, 0.0), w) * direction
    if not bool((power > goal).any()):
        return w
    worst = (power / goal).max().sqrt().item()
    msg = (
        f"the equations for an observation that is not diagonal in the process's basis were not solved in {iterations}"
        f" iterations (the error is {worst:.3g} times the one wanted): allow more iterations, or state the"
        " observation's noise, since those without noise, or with very little, take the most"
    )
    raise RuntimeError(msg)


def _square(values: Tensor) -> Tensor:
    """Return the squared norm of each row, (batch,)."""
    return values.flatten(1).square().sum(1)


def _each(numbers: Tensor, values: Tensor) -> Tensor:
    """Return a number for each row, or one for all, broadcastable to the rows' values."""
    return numbers.reshape(-1, *(1,) * (values.ndim - 1))
