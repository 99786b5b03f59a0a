"""Bases of eigenfunctions of the Laplacian on a grid: their functions are waves, each of a frequency."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from typing_extensions import override

from .axes import outer_sum, trailing_axes
from .base import Basis


class LaplacianBasis(Basis):
    """Waves along the last one, two or three axes, one number of the frequency for each; leading axes are left alone.

    Args:
        shape: shape of one signal, such as (3, 32, 32); the transformed axes may differ in size.
        axes: how many trailing axes are transformed; None means all but the first, or the only one.

    Raises:
        ValueError: `axes` is not 1, 2 or 3, or exceeds the number of axes.
    """

    def __init__(self, shape: Sequence[int], axes: int | None = None) -> None:
        super().__init__(shape)
        self.axes = trailing_axes(self.shape, axes)

    @override
    def agrees_with(self, other: nn.Module) -> bool:
        return super().agrees_with(other) and isinstance(other, LaplacianBasis) and self.axes == other.axes

    @abstractmethod
    def axis_eigenvalues(self) -> list[Float[Tensor, " size"]]:
        """Return, for each transformed axis, the float64 eigenvalues of -d^2/dx^2 in pixel^-2."""

    def laplacian_eigenvalues(self) -> Float[Tensor, "..."]:
        """Return the sum over axes of their eigenvalues in pixel^-2, float64, of the transformed axes' shape."""
        return outer_sum(self.axis_eigenvalues())

    def octaves(self) -> Int64[Tensor, "..."]:
        """Return the octave of each coefficient, of the transformed axes' shape.

        Octave 0 is the constant; octave j >= 1 holds frequencies from 2^(j-1) to below 2^j times the lowest one. A
        basis without a constant, of sines, has no octave 0.
        """
        eigenvalues = self.laplacian_eigenvalues()
        waves = eigenvalues > 0
        octaves = torch.zeros(eigenvalues.shape, dtype=torch.long)
        if bool(waves.any()):
            # A frequency is the root of its eigenvalue: octave j is the ratios from 4^(j-1) to below 4^j.
            exponent = torch.frexp(eigenvalues[waves] / eigenvalues[waves].min()).exponent
            octaves[waves] = (exponent.long() + 1) // 2
        return octaves
