r"""The cosine basis: the orthonormal DCT-II, eigenbasis of the Laplacian with Neumann boundaries.

For an axis of N pixels, frequency n = 0 .. N-1 and pixel i,

    V[i, n] = sqrt((2 - [n = 0]) / N) cos(pi n (i + 1/2) / N),

and the continuous Laplacian's eigenvalue of that cosine, in units of pixel^-2, is -(pi n / N)^2.
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
# two, and to 512 where it is prime. The longest of these, since heat dissipation multiplies by blur matrices instead,
# which at 512 takes less than two thirds of the time of FFTs.
LONGEST_MATRIX_AXIS = 512


def cosine_matrix(size: int) -> Float[Tensor, "size size"]:
    """Return the orthonormal DCT-II as a float64 matrix C, row n holding the cosine of frequency n."""
    n = torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi / size * n[:, None] * (n + 0.5))
    matrix[0] = math.sqrt(1 / size)
    return matrix


class CosineBasis(SeparableBasis):
    """Orthonormal DCT-II over the last one, two or three axes; leading axes (channels) are left alone.

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
        return cosine_matrix(size)

    @staticmethod
    @override
    def eigenvalues_of(size: int) -> Float[Tensor, " size"]:
        """Return (pi n / N)^2 for n = 0 .. N-1, float64, in pixel^-2."""
        return (math.pi / size * torch.arange(size, dtype=torch.float64)) ** 2

    @override
    def axis_operators(
        self, gains: Float[Tensor, "batch size"], dtype: torch.dtype
    ) -> Float[Tensor, "batch size size"]:
        """Return V diag(gains) V^T without a matrix product: its entries are h[i - j] + h[i + j + 1].

        From the product of two cosines, h[m] = sum over n of (2 - [n = 0]) / (2 N) gains[n] cos(pi n m / N), which is
        even and of period 2 N: one inverse Fourier transform for each row of gains.
        """
        if gains.numel() == 0:  # which torch's FFT would refuse on CPUs
            return super().axis_operators(gains, dtype)
        size = gains.shape[-1]
        kernel = torch.fft.irfft(gains, 2 * size).to(dtype)
        # Row k of windows holds h[k], h[k + 1], ... h[k + N - 1].
        reflected = kernel.unfold(-1, size, 1)[:, 1:]
        shifted = kernel.roll(size - 1, -1).unfold(-1, size, 1)[:, :size].flip(-2)
        return shifted + reflected

    @staticmethod
    @override
    def analyse_axis(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch_dct.dct(x, norm="ortho")

    @staticmethod
    @override
    def synthesise_axis(u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return torch_dct.idct(u, norm="ortho")
