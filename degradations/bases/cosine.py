r"""The cosine basis: the orthonormal DCT-II, eigenbasis of the Laplacian with Neumann boundaries.

For an axis of N pixels, frequency n = 0 .. N-1 and pixel i,

    V[i, n] = sqrt((2 - [n = 0]) / N) cos(pi n (i + 1/2) / N),

and the continuous Laplacian's eigenvalue of that cosine, in units of pixel^-2, is -(pi n / N)^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch_dct
from jaxtyping import Float
from torch import Tensor, nn

from .base import Basis

# An axis up to this long is transformed by a matrix product, a longer one by torch-dct's FFT. On two CPU
# cores a product is the faster one to 256 at least, and a table of 512 x 512 numbers is still small.
LONGEST_MATRIX_AXIS = 512
MOST_AXES = 3


def cosine_matrix(size: int) -> Float[Tensor, "size size"]:
    """Return the orthonormal DCT-II as a float64 matrix C, row n holding the cosine of frequency n."""
    n = torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi / size * n[:, None] * (n + 0.5))
    matrix[0] = math.sqrt(1 / size)
    return matrix


class CosineBasis(Basis):
    """Orthonormal DCT-II over the last one, two or three axes; leading axes (channels) are left alone.

    Args:
        shape: shape of one signal, such as (3, 32, 32); the transformed axes may differ in size.
        axes: how many trailing axes are transformed; None means all but the first, or the only one.

    Raises:
        ValueError: `axes` is not 1, 2 or 3, or exceeds the number of axes.
    """

    def __init__(self, shape: Sequence[int], axes: int | None = None) -> None:
        super().__init__(shape)
        self.axes = max(1, len(self.shape) - 1) if axes is None else axes
        if not 1 <= self.axes <= min(MOST_AXES, len(self.shape)):
            msg = (
                f"axes must be between 1 and {min(MOST_AXES, len(self.shape))} for shape {self.shape}, got {self.axes}"
                " (None transforms all axes but the first)"
            )
            raise ValueError(msg)
        for size in set(self.shape[-self.axes :]):
            if size <= LONGEST_MATRIX_AXIS:
                matrix = cosine_matrix(size)
                self.register_table(f"cosines_{size}", matrix)
                self.register_table(f"cosines_{size}_single", matrix.float())

    def agrees_with(self, other: nn.Module) -> bool:
        """See `Basis.agrees_with`."""
        return super().agrees_with(other) and isinstance(other, CosineBasis) and self.axes == other.axes

    def axis_eigenvalues(self) -> list[Float[Tensor, " size"]]:
        """Return, for each transformed axis of N pixels, the float64 table (pi n / N)^2, n = 0 .. N-1, in pixel^-2."""
        return [(math.pi / n * torch.arange(n, dtype=torch.float64)) ** 2 for n in self.shape[-self.axes :]]

    def laplacian_eigenvalues(self) -> Float[Tensor, "..."]:
        """Return lambda = sum over axes of (pi n / N)^2 in pixel^-2, float64, of the transformed axes' shape."""
        total = torch.zeros((), dtype=torch.float64)
        for eigenvalues in self.axis_eigenvalues():
            total = total[..., None] + eigenvalues
        return total

    def axis_matrix(self, size: int, dtype: torch.dtype) -> Float[Tensor, "size size"]:
        """Return the table of cosines of one axis, frequency by pixel, in float64 or float32 as `dtype` says."""
        return self.table(f"cosines_{size}" if dtype == torch.float64 else f"cosines_{size}_single")

    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Basis.analyse`."""
        for axis in range(-self.axes, 0):
            size = x.shape[axis]
            if size > LONGEST_MATRIX_AXIS:
                x = torch_dct.dct(x.movedim(axis, -1), norm="ortho").movedim(-1, axis)
            else:
                x = _multiply(self.axis_matrix(size, x.dtype), x, axis)
        return x

    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """See `Basis.synthesise`."""
        for axis in range(-self.axes, 0):
            size = u.shape[axis]
            if size > LONGEST_MATRIX_AXIS:
                u = torch_dct.idct(u.movedim(axis, -1), norm="ortho").movedim(-1, axis)
            else:
                u = _multiply(self.axis_matrix(size, u.dtype).mT, u, axis)
        return u


def _multiply(matrix: Float[Tensor, "n n"], x: Float[Tensor, "..."], axis: int) -> Float[Tensor, "..."]:
    """Multiply `matrix` onto axis -1, -2 or -3 of `x`."""
    if axis == -1:
        return x @ matrix.mT
    if axis == -2:
        return matrix @ x
    return (matrix @ x.flatten(-2)).unflatten(-1, x.shape[-2:])
