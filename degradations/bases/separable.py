"""Separable bases: eigenbases of the Laplacian on a grid, one orthonormal transform for each axis.

On a box, the Laplacian is the sum over axes of second derivatives. If V_a are the eigenfunctions of axis a, of
eigenvalues lambda_a, then their tensor product is the Laplacian's eigenbasis, of eigenvalues lambda_1[n] +
lambda_2[m] + ... What happens at the box's edges tells the bases apart: nothing flows out (cosine), the value is
held at zero (sine), or the other edge follows (Fourier).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from .axes import multiply_axis
from .laplacian import LaplacianBasis


class SeparableBasis(LaplacianBasis):
    """One orthonormal transform along each of the last one, two or three axes; leading axes are left alone.

    Operators that are diagonal in it treat a plane wave and its mirror images along single axes alike: a blur must be
    symmetric along each axis apart, and cannot be slanted (`HartleyBasis` holds those).

    Short axes are multiplied by a table, longer ones than `longest_matrix_axis` take a fast Fourier transform. A
    subclass writes the matrix and the eigenvalues of an axis of any size, and the fast transform and its inverse.

    Args:
        shape: shape of one signal, such as (3, 32, 32); the transformed axes may differ in size.
        axes: how many trailing axes are transformed; None means all but the first, or the only one.

    Attributes:
        longest_matrix_axis: an axis up to this long is transformed by a matrix product, a longer one by FFT.

    Raises:
        ValueError: `axes` is not 1, 2 or 3, or exceeds the number of axes.
    """

    longest_matrix_axis: ClassVar[int]

    def __init__(self, shape: Sequence[int], axes: int | None = None) -> None:
        super().__init__(shape, axes)
        for size in set(self.shape[-self.axes :]):
            if size <= self.longest_matrix_axis:
                matrix = self.matrix_of(size)
                self.register_constant(f"axis_{size}", matrix)
                self.register_constant(f"axis_{size}_single", matrix.float())

    @staticmethod
    @abstractmethod
    def matrix_of(size: int) -> Float[Tensor, "size size"]:
        """Return V^T of one axis in float64, row n holding basis function n."""

    @staticmethod
    @abstractmethod
    def eigenvalues_of(size: int) -> Float[Tensor, " size"]:
        """Return the eigenvalues of -d^2/dx^2 for the basis functions of one axis, float64, in pixel^-2."""

    @staticmethod
    @abstractmethod
    def analyse_axis(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return V^T x along the last axis, by FFT."""

    @staticmethod
    @abstractmethod
    def synthesise_axis(u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return V u along the last axis, by FFT."""

    @override
    def axis_eigenvalues(self) -> list[Float[Tensor, " size"]]:
        return [self.eigenvalues_of(size) for size in self.shape[-self.axes :]]

    def axis_matrix(self, size: int, dtype: torch.dtype) -> Float[Tensor, "size size"]:
        """Return V^T of an axis of `size` pixels, frequency by pixel, in float64 or float32 as `dtype` says."""
        return getattr(self, f"axis_{size}" if dtype == torch.float64 else f"axis_{size}_single")

    def axis_operators(
        self, gains: Float[Tensor, "batch size"], dtype: torch.dtype
    ) -> Float[Tensor, "batch size size"]:
        """Return the symmetric matrices V diag(gains) V^T of an axis, in float64 or float32 as `dtype` says."""
        matrix = self.axis_matrix(gains.shape[-1], dtype)
        return (matrix.mT * gains.to(dtype)[:, None]) @ matrix

    @override
    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if x.numel() == 0:  # which torch's FFT would refuse on CPUs
            return x
        for axis in range(-self.axes, 0):
            size = self.shape[axis]
            if size > self.longest_matrix_axis:
                x = self.analyse_axis(x.movedim(axis, -1)).movedim(-1, axis)
            else:
                x = multiply_axis(self.axis_matrix(size, x.dtype), x, axis)
        return x

    @override
    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if u.numel() == 0:
            return u
        for axis in range(-self.axes, 0):
            size = self.shape[axis]
            if size > self.longest_matrix_axis:
                u = self.synthesise_axis(u.movedim(axis, -1)).movedim(-1, axis)
            else:
                u = multiply_axis(self.axis_matrix(size, u.dtype).mT, u, axis)
        return u
