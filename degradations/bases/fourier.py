r"""The Fourier basis: real sines and cosines, eigenbasis of the Laplacian with periodic boundaries.

For an axis of N pixels, frequency k = 1 .. (N-1) // 2 and pixel i,

    V[i, 0] = sqrt(1 / N),   V[i, 2k-1] = sqrt(2 / N) cos(2 pi k i / N),   V[i, 2k] = sqrt(2 / N) sin(2 pi k i / N),

and for even N one more, V[i, N-1] = sqrt(1 / N) (-1)^i, of frequency N / 2. The continuous Laplacian's eigenvalue of
frequency k, in units of pixel^-2, is -(2 pi k / N)^2. It is the same for sine and cosine, so that a diagonal operator
whose coefficients depend on k alone commutes with shifts: it is a circular convolution. Over several axes the basis is
the product of these, not one of plane waves: cos(k i) cos(l j) is a sum of the waves in the directions (k, l) and
(k, -l), so what is diagonal here treats both alike. For a direction other than the axes' see `HartleyBasis`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from .separable import SeparableBasis

# benchmarks/transforms.py: on a CPU, an FFT is the faster one from 128 on. Where N is
# prime an FFT is the slower one even at 331, but below 128 it can take three times as long as a product.
LONGEST_MATRIX_AXIS = 127


def fourier_matrix(size: int) -> Float[Tensor, "size size"]:
    """Return the real orthonormal Fourier transform as a float64 matrix, row n holding basis function n."""
    i = torch.arange(size)
    # The phase in whole turns of 1/N first, which is exact: cosines of large angles lose digits.
    angle = 2 * math.pi / size * (_frequencies(size)[:, None] * i % size).double()
    is_sine = (i > 0) & (i % 2 == 0)
    matrix = math.sqrt(2 / size) * torch.where(is_sine[:, None], angle.sin(), angle.cos())
    matrix[0] *= math.sqrt(0.5)
    if size % 2 == 0:
        matrix[-1] *= math.sqrt(0.5)
    return matrix


class FourierBasis(SeparableBasis):
    """A real orthonormal Fourier basis along each of the last one, two or three axes; leading axes are left alone.

    It holds blurs that are symmetric along each axis apart. Slanted ones need plane waves: `HartleyBasis`.

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
        return fourier_matrix(size)

    @staticmethod
    @override
    def eigenvalues_of(size: int) -> Float[Tensor, " size"]:
        """Return (2 pi k / N)^2 for the frequencies k = 0, 1, 1, 2, 2, ..., float64, in pixel^-2."""
        return (2 * math.pi / size * _frequencies(size).double()) ** 2

    @staticmethod
    @override
    def analyse_axis(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        # Real and imaginary parts in turn; the imaginary ones of frequencies 0 and N / 2 are zero and left out.
        parts = torch.view_as_real(torch.fft.rfft(x, norm="ortho")).flatten(-2)
        return torch.cat([parts[..., :1], parts[..., 2 : x.shape[-1] + 1]], -1) * _weights(x)

    @staticmethod
    @override
    def synthesise_axis(u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        size = u.shape[-1]
        parts = u / _weights(u)
        zero = torch.zeros_like(u[..., :1])
        last = [zero] if size % 2 == 0 else []
        # Joined tensors may keep their order in memory, while a complex number's two parts have to lie side by side.
        parts = torch.cat([parts[..., :1], zero, parts[..., 1:], *last], -1).contiguous()
        return torch.fft.irfft(torch.view_as_complex(parts.unflatten(-1, (-1, 2))), n=size, norm="ortho")


def _frequencies(size: int) -> Tensor:
    """Return 0, 1, 1, 2, 2, ..., the frequency of each basis function of one axis."""
    return (torch.arange(size) + 1) // 2


def _weights(x: Tensor) -> Tensor:
    """Return the basis functions' coefficients per real or imaginary part of the orthonormal complex transform."""
    size = x.shape[-1]
    weights = x.new_full((size,), math.sqrt(2))
    weights[2::2] *= -1
    weights[0] = 1
    if size % 2 == 0:
        weights[-1] = 1
    return weights
