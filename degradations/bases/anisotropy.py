"""Blurs that are wider along one axis than along another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from .laplacian import LaplacianBasis


def blur_rates(basis: LaplacianBasis, anisotropy: Sequence[float] | None) -> list[Float[Tensor, " size"]]:
    """Return every blurred axis's eigenvalues, times the squares of its relative width; their sums fade in a blur.

    Raises:
        ValueError: anisotropy has the wrong length, a negative or infinite entry, or only zeros.
    """
    widths = relative_widths(anisotropy, basis.axes)
    return [width**2 * rate for width, rate in zip(widths, basis.axis_eigenvalues(), strict=True)]


def relative_widths(anisotropy: Sequence[float] | None, axes: int) -> tuple[float, ...]:
    """Return the relative width of each blurred axis, checked."""
    widths = (1.0,) * axes if anisotropy is None else tuple(float(width) for width in anisotropy)
    if len(widths) != axes:
        msg = f"anisotropy must give a relative width for each of the {axes} blurred axes, got {widths}"
        raise ValueError(msg)
    if not all(0 <= width < math.inf for width in widths) or not any(widths):
        msg = f"anisotropy must be finite relative widths >= 0, not all 0, got {widths}"
        raise ValueError(msg)
    return widths
