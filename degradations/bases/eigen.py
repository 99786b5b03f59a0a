"""The eigenbasis of a symmetric matrix, such as a graph's Laplacian or a covariance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .matrix import MatrixBasis, check_square, rounding

# Entries of an eigenvector this close to the largest count as equally large, whatever their rounding.
_TIE = 1e-8


class EigenBasis(MatrixBasis):
    """Eigenvectors V of a symmetric matrix A = V diag(lambda) V^T, in the order of rising eigenvalues.

    In it every function of A is diagonal: exp(-tau A) for heat on a graph with Laplacian A, say. Signs are fixed, the
    largest entry of every eigenvector being positive (the first of them, where several are equally large). Within the
    space of a repeated eigenvalue the choice of eigenvectors is the linear algebra library's.

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        matrix: A, (n, n); it acts on trailing axes as in `MatrixBasis`. It is decomposed in float64.

    Raises:
        TypeError: `matrix` is not real floating-point.
        ValueError: `matrix` is not square, fits no trailing axes, or differs from its transpose by more than the
            rounding of its dtype, 16 eps sqrt(n) times its largest entry.
    """

    spectrum: Tensor

    def __init__(self, shape: Sequence[int], matrix: Float[Tensor, "rows columns"]) -> None:
        check_square("matrix", matrix)
        eigenvalues, eigenvectors = eigenvectors_of(_symmetric(matrix))
        super().__init__(shape, eigenvectors)
        self.register_constant("spectrum", eigenvalues.reshape(self.shape[-self.axes :]))

    def eigenvalues(self) -> Float[Tensor, "..."]:
        """Return lambda, float64, rising in row-major order, of the transformed axes' shape."""
        return self.spectrum


def eigenvectors_of(matrix: Float[Tensor, "n n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Return rising eigenvalues and the eigenvectors (columns) of a symmetric matrix, their signs fixed."""
    eigenvalues, eigenvectors = torch.linalg.eigh(matrix)
    sizes = eigenvectors.abs()
    pivots = (sizes >= (1 - _TIE) * sizes.amax(0)).int().argmax(0, keepdim=True)
    return eigenvalues, eigenvectors * eigenvectors.gather(0, pivots).sign()


def _symmetric(matrix: Tensor) -> Tensor:
    """Return `matrix` in float64, its rounding's asymmetry averaged out."""
    allowed = rounding(matrix)
    matrix = matrix.detach().to("cpu", torch.float64)
    largest = matrix.abs().max().item()
    off = (matrix - matrix.mT).abs().max().item()
    if not off <= allowed * largest:
        msg = (
            f"matrix must be symmetric, but differs from its transpose by {off:.3g} where {allowed * largest:.3g} is"
            " allowed: for a directed graph, say, pass (A + A.T) / 2"
        )
        raise ValueError(msg)
    return (matrix + matrix.mT) / 2
