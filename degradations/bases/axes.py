"""Which axes of a signal a basis transforms, matrix products along one of them, and tables made of one for each."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from ...core.checks import Shape

MOST_AXES = 3


def trailing_axes(shape: Shape, axes: int | None, *, most: int = MOST_AXES) -> int:
    """Return how many trailing axes of `shape` are transformed; None means all but the first, or the only one.

    Raises:
        ValueError: `axes` is below 1, above `most`, or above the number of axes.
    """
    count = max(1, len(shape) - 1) if axes is None else axes
    most = min(most, len(shape))
    if not 1 <= count <= most:
        hint = " (None transforms all axes but the first)" if axes is None else ""
        msg = f"axes must be between 1 and {most} for shape {shape}, got {count}{hint}"
        raise ValueError(msg)
    return count


def multiply_axis(matrix: Float[Tensor, "n n"], x: Float[Tensor, "..."], axis: int) -> Float[Tensor, "..."]:
    """Multiply `matrix` onto axis -1, -2 or -3 of `x`."""
    if axis == -1:
        return x @ matrix.mT
    if axis == -2:
        return matrix @ x
    return (matrix @ x.flatten(-2)).unflatten(-1, x.shape[-2:])


def outer_sum(tables: Iterable[Float[Tensor, " _"]]) -> Float[Tensor, "..."]:
    """Return the sums of one number of each table, (size of the first, size of the second, ...), float64."""
    total = torch.zeros((), dtype=torch.float64)
    for table in tables:
        total = total[..., None] + table
    return total
