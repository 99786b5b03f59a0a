"""A basis given as a matrix: any orthonormal V, its columns the basis functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import Shape, check_floating
from .base import Basis

# A matrix closer to orthonormal than this is used as it is.
CLOSE = 1e-12


class MatrixBasis(Basis):
    """Any orthonormal matrix V, on the trailing axes flattened; leading axes are left alone.

    V is kept in float64. One computed in float32 is orthonormal to float32's rounding only, which processes would feel
    in float64: if V^T V is off by more than 1e-12, V is replaced by the orthonormal matrix nearest to it (its polar
    factor, computed in float64), which moves its entries by about half as much as V^T V was off. One that is off by
    less is used bit for bit.

    Args:
        shape: shape of one signal, such as (3, 32, 32).
        matrix: V, (n, n), column k holding basis function k. It acts on the shortest run of trailing axes whose sizes
            multiply to n, flattened in row-major order: for (3, 32, 32) on 32, on 32 * 32 or on 3 * 32 * 32 numbers.

    Attributes:
        axes: how many trailing axes are transformed.

    Raises:
        TypeError: `matrix` is not real floating-point.
        ValueError: `matrix` is not square; no run of trailing axes has n numbers; or V^T V differs from the identity
            by more than the rounding of `matrix`'s dtype, 16 eps sqrt(n), and by more than 1e-12.
    """

    matrix: Tensor
    matrix_single: Tensor

    def __init__(self, shape: Sequence[int], matrix: Float[Tensor, "rows columns"]) -> None:
        super().__init__(shape)
        check_square("matrix", matrix)
        self.axes = _run_of(self.shape, len(matrix))
        matrix = _orthonormal(matrix)
        self.register_constant("matrix", matrix)
        self.register_constant("matrix_single", matrix.float())

    @override
    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self._multiply(x, self._matrix(x.dtype))

    @override
    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self._multiply(u, self._matrix(u.dtype).mT)

    def _matrix(self, dtype: torch.dtype) -> Tensor:
        return self.matrix if dtype == torch.float64 else self.matrix_single

    def _multiply(self, x: Tensor, matrix: Tensor) -> Tensor:
        """Multiply row vectors, the transformed axes flattened, by `matrix`."""
        return (x.flatten(-self.axes) @ matrix).unflatten(-1, self.shape[-self.axes :])


def check_square(name: str, matrix: Tensor) -> None:
    """Check that `matrix` is a real floating-point matrix (n, n).

    Raises:
        TypeError: it is not real floating-point.
        ValueError: it is not square.
    """
    check_floating(name, matrix, f"pass {name}.double() if it is real")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        msg = f"{name} must be square, (n, n) for n numbers, got shape {tuple(matrix.shape)}"
        raise ValueError(msg)


def rounding(matrix: Tensor) -> float:
    """Return what sums of n products of numbers up to 1 may be off by, as computed in the matrix's dtype."""
    # Rounding adds up like a random walk of sqrt(n) steps; 16 leaves room for how the matrix was computed.
    return 16 * torch.finfo(matrix.dtype).eps * math.sqrt(len(matrix))


def _run_of(shape: Shape, numbers: int) -> int:
    """Return the length of the shortest run of trailing axes whose sizes multiply to `numbers`."""
    runs = {math.prod(shape[-axes:]): axes for axes in range(len(shape), 0, -1)}
    if numbers not in runs:
        msg = (
            f"matrix of {numbers} x {numbers} fits no trailing axes of shape {shape}: these hold"
            f" {', '.join(map(str, sorted(runs)))} numbers; to transform other axes, put bases together by ProductBasis"
        )
        raise ValueError(msg)
    return runs[numbers]


def _orthonormal(matrix: Tensor) -> Tensor:
    """Return `matrix` in float64, made orthonormal if it is so only up to the rounding of its dtype."""
    allowed = max(CLOSE, rounding(matrix))
    matrix = matrix.detach().to("cpu", torch.float64, copy=True)
    off = (matrix.mT @ matrix - torch.eye(len(matrix), dtype=torch.float64)).abs().max().item()
    if not off <= allowed:
        msg = (
            f"matrix must be orthonormal, its columns of length 1 and at right angles, but V^T V is off by {off:.3g}"
            f" where {allowed:.3g} is allowed: torch.linalg.qr(matrix).Q makes an orthonormal basis of its columns, and"
            " a matrix computed in a lower precision should be passed in that dtype"
        )
        raise ValueError(msg)
    if off > CLOSE:
        left, _, right = torch.linalg.svd(matrix)
        matrix = left @ right
    return matrix
