r"""The Hartley basis: plane waves, in which every point-symmetric blur with periodic edges is diagonal.

For axes of N_1, N_2, ... pixels, wave n = (n_1, n_2, ...), n_a = 0 .. N_a - 1, and pixel i,

    V[i, n] = (cos(theta) + sin(theta)) / sqrt(N_1 N_2 ...),    theta = 2 pi (n_1 i_1 / N_1 + n_2 i_2 / N_2 + ...).

V is symmetric, so that the transform is its own inverse: the real part of the orthonormal complex Fourier transform
less its imaginary part. Waves n and -n (modulo the sizes) span the cosine and the sine of one plane wave. A diagonal
operator whose coefficients are the same for n and -n is therefore a circular convolution with a point-symmetric kernel,
g(-i) = g(i), and every such convolution is one, whatever its direction.

Over several axes this is *not* the product of one-dimensional transforms. In a product of cosines, sines or Fourier
functions (`CosineBasis`, `SineBasis`, `FourierBasis`) the waves (n_1, n_2) and (n_1, -n_2) share their coefficients:
these bases hold kernels that are symmetric along each axis apart, and no slanted one.

Source: Hartley (1942), A more symmetrical Fourier analysis applied to transmission problems; Bracewell (1983), Discrete
Hartley transform.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ...core.checks import check_floating
from .axes import outer_sum
from .laplacian import LaplacianBasis


class HartleyBasis(LaplacianBasis):
    """Plane waves over the last one, two or three axes together; leading axes (channels) are left alone.

    Args:
        shape: shape of one signal, such as (3, 32, 32); the transformed axes may differ in size.
        axes: how many trailing axes are transformed; None means all but the first, or the only one.

    Raises:
        ValueError: `axes` is not 1, 2 or 3, or exceeds the number of axes.
    """

    def axis_frequencies(self) -> list[Float[Tensor, " size"]]:
        """Return, for each transformed axis, the float64 angular frequencies in radians per pixel, with their signs.

        They are 2 pi n / N for n = 0, 1, 2, ..., -2, -1, in the order of the Fourier transform. On an axis of even size
        the highest one, given as -pi, has no sign: it is that of 1, -1, 1, ...
        """
        return [2 * math.pi * torch.fft.fftfreq(size, dtype=torch.float64) for size in self.shape[-self.axes :]]

    @override
    def axis_eigenvalues(self) -> list[Float[Tensor, " size"]]:
        return [frequency.square() for frequency in self.axis_frequencies()]

    def directional_eigenvalues(self, direction: Sequence[float]) -> Float[Tensor, "..."]:
        """Return the eigenvalues of -(d . grad)^2 for a direction d: (d . k)^2, k being a wave's frequency.

        A blur of standard deviation w pixels along a unit vector d multiplies waves by exp(-(d . k)^2 w^2 / 2). Over
        unit vectors at right angles the eigenvalues add up to those of the Laplacian. In products of two axes'
        frequencies the highest one of an even axis counts as 0, because it has no sign: the slope of 1, -1, 1, ... at
        the pixels is 0 (Trefethen, 2000, Spectral methods in MATLAB).

        Args:
            direction: d, a finite number for each transformed axis: (down, to the right) for images.

        Returns:
            float64, in pixel^-2 for a unit vector, of the transformed axes' shape.

        Raises:
            ValueError: `direction` has another length, or a number that is not finite.
        """
        if len(direction) != self.axes or not all(math.isfinite(part) for part in direction):
            msg = f"direction must give a finite number for each of the {self.axes} axes, got {tuple(direction)}"
            raise ValueError(msg)
        slopes: list[Tensor] = []
        unsigned: list[Tensor] = []
        for part, frequency in zip(direction, self.axis_frequencies(), strict=True):
            slope = part * torch.where(frequency == -math.pi, 0.0, frequency)
            slopes.append(slope)
            unsigned.append((part * frequency).square() - slope.square())
        return outer_sum(slopes).square() + outer_sum(unsigned)

    def kernel_eigenvalues(self, kernel: Float[Tensor, "..."], *, allow_negative: bool = False) -> Float[Tensor, "..."]:
        """Return what the convolution with a kernel multiplies each wave by; edges are periodic.

        Args:
            kernel: the kernel, of as many axes as are transformed and no longer than they are. Its centre is the pixel
                size // 2 of each axis; about that it must be symmetric, kernel.flip of an odd-sized one being itself.
                Numbers that add up to 1 keep the mean; take float64, whose sum is 1 to more digits.
            allow_negative: also return negative eigenvalues (those of a box, say), which `LinearObservation` takes. A
                process fades waves, and has none.

        Returns:
            float64, of the transformed axes' shape; 1 everywhere for a kernel that changes nothing.

        Raises:
            TypeError: `kernel` is not real floating-point.
            ValueError: `kernel` has other axes, is longer than the signal, is not finite or not point-symmetric; or it
                has negative eigenvalues and these are not allowed.
        """
        placed = _around_the_origin(kernel, self.shape[-self.axes :])
        spectrum = torch.fft.fftn(placed)
        # A sum over the kernel, rounded as its dtype was.
        rounding = 16 * torch.finfo(kernel.dtype).eps * placed.abs().sum().item()
        if spectrum.imag.abs().max() > rounding:
            msg = (
                "kernel must be point-symmetric about the pixel size // 2 of each axis, but it differs from its mirror"
                " image there: give it odd sizes and put its centre in the middle; one-sided kernels have complex"
                " eigenvalues, and are no process's blur"
            )
            raise ValueError(msg)
        eigenvalues = spectrum.real.contiguous()
        if allow_negative:
            return eigenvalues
        least, most = eigenvalues.aminmax()
        if least < -rounding:
            msg = (
                f"kernel must have eigenvalues of at least 0 for a process, got some from {least.item():.3g} to"
                f" {most.item():.3g}: Gaussians, and any kernel convolved with its mirror image, have; to observe"
                " through this one pass allow_negative=True and give its eigenvalues to LinearObservation as the gain"
            )
            raise ValueError(msg)
        # What is below 0 by rounding is 0.
        return eigenvalues.clamp(min=0)

    @override
    def analyse(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if x.numel() == 0:  # which torch's FFT would refuse on CPUs
            return x
        spectrum = torch.fft.fftn(x, dim=tuple(range(-self.axes, 0)), norm="ortho")
        return spectrum.real - spectrum.imag

    @override
    def synthesise(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return self.analyse(u)


def _around_the_origin(kernel: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return a kernel, checked, in float64 on a grid of `sizes`, its centre at pixel 0 of each axis."""
    check_floating("kernel", kernel, "pass kernel.double()")
    if kernel.ndim != len(sizes) or not all(0 < k <= size for k, size in zip(kernel.shape, sizes, strict=True)):
        msg = f"kernel must have {len(sizes)} axes of sizes up to {sizes}, got shape {tuple(kernel.shape)}"
        raise ValueError(msg)
    if not bool(kernel.isfinite().all()):
        msg = f"kernel must be finite, got {kernel[~kernel.isfinite()][0].item()}"
        raise ValueError(msg)
    placed = torch.zeros(sizes, dtype=torch.float64)
    placed[tuple(slice(size) for size in kernel.shape)] = kernel.detach().to("cpu", torch.float64)
    return placed.roll([-(size // 2) for size in kernel.shape], [*range(len(sizes))])
