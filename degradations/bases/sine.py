r"""The sine basis: the orthonormal DST-II, eigenbasis of the Laplacian with Dirichlet boundaries.

For an axis of N pixels, index n = 0 .. N-1 and pixel i,

    V[i, n] = sqrt((2 - [n = N-1]) / N) sin(pi (n + 1) (i + 1/2) / N),

which is zero half a pixel outside the first and the last pixel. The continuous Laplacian's eigenvalue of that sine,
in units of pixel^-2, is -(pi (n + 1) / N)^2: no coefficient stays, even a constant fades. Since

    sin(pi (N - m) (i + 1/2) / N) = (-1)^i cos(pi m (i + 1/2) / N),

the DST-II of x is the DCT-II of (-1)^i x_i, read backwards.
"""

from __future__ import annotations

import math

import torch
import torch_dct
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from .separable import SeparableBasis

# benchmarks/transforms.py: on a CPU, a product is the faster one to between 256 and 384 pixels where N is a power of
# two, and to 512 where it is prime.
LONGEST_MATRIX_AXIS = 384


def sine_matrix(size: int) -> Float[Tensor, "size size"]:
    """Return the orthonormal DST-II as a float64 matrix, row n holding the sine of n + 1 half-waves."""
    n = torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.sin(math.pi / size * (n[:, None] + 1) * (n + 0.5))
    matrix[-1] *= math.sqrt(0.5)
    return matrix


class SineBasis(SeparableBasis):
    """Orthonormal DST-II over the last one, two or three axes; leading axes (channels) are left alone.

    Args:
        shape: shape of one signal, such as (3, 32, 32); the transformed axes may differ in size.
        axes: how many trailing axes are transformed; None means all but the first, or the only one.

    Raises:
        ValueError: `axes` is not 1, 2 or 3, or exceeds the number of axes.
    """

    longest_matrix_axis = LONGEST_MATRIX_AXIS

    @staticmethod
    @override
    def matrix_of(size: int) -> Float[Tensor, "size size"]:
        return sine_matrix(size)

    @staticmethod
    @override
    def eigenvalues_of(size: int) -> Float[Tensor, " size"]:
        """Return (pi (n + 1) / N)^2 for n = 0 .. N-1, float64, in pixel^-2."""
        return (math.pi / size * torch.arange(1, size + 1, dtype=torch.float64)) ** 2

    @staticmethod
    @override
    def analyse_axis(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch_dct.dct(_alternating(x) * x, norm="ortho").flip(-1)

    @staticmethod
    @override
    def synthesise_axis(u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return _alternating(u) * torch_dct.idct(u.flip(-1), norm="ortho")


def _alternating(x: Tensor) -> Tensor:
    """Return 1, -1, 1, ... as long as the last axis of `x`."""
    signs = x.new_ones(x.shape[-1])
    signs[1::2] = -1
    return signs
